"""From a question's bytes to an answer's: the DNS message around plan.kube.dns.

The problem: an answer must fit what the asker can take (EDNS size over UDP, else 512 bytes, RFC 1035 and 6891), name
the asked name as it was spelled, and be negative in a way resolvers cache (SOA, RFC 2308).
"""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from podloom.plan.kube.dns import TTL_S, Answer, Record

UDP_MOST = 1232
NEGATIVE_TTL_S = 5


def parse(data: bytes) -> dns.message.Message | None:
    """The query of a datagram; None for what is not one (no answer: it may be an answer of someone else)."""
    try:
        query = dns.message.from_wire(data, ignore_trailing=True)
    except dns.exception.DNSException:
        return None
    if query.flags & dns.flags.QR:
        return None
    return query


def refusal(query: dns.message.Message) -> int | None:
    """The rcode of a query we never answer: other opcodes, other classes, not one question."""
    if query.opcode() != dns.opcode.QUERY:
        return int(dns.rcode.NOTIMP)
    if len(query.question) != 1:
        return int(dns.rcode.FORMERR)
    if query.question[0].rdclass != dns.rdataclass.IN:
        return int(dns.rcode.REFUSED)
    return None


def render(
    query: dns.message.Message, answer: Answer, domain: str, *, extra: list[dns.rrset.RRset]
) -> dns.message.Message:
    """The response message; `extra` are records fetched elsewhere (the target of an ExternalName)."""
    response = dns.message.make_response(query, recursion_available=True, our_payload=UDP_MOST)
    response.flags |= dns.flags.AA
    for record in answer.records:
        _put(response, response.answer, record)
    response.answer.extend(extra)
    for record in answer.additional:
        _put(response, response.additional, record)
    if not answer.exists:
        response.set_rcode(dns.rcode.NXDOMAIN)
    if not response.answer:
        response.authority.append(_soa(domain))
    return response


def failure(query: dns.message.Message, rcode: int) -> dns.message.Message:
    """A response that says only what went wrong."""
    response = dns.message.make_response(query, recursion_available=True, our_payload=UDP_MOST)
    response.set_rcode(dns.rcode.Rcode.make(rcode))
    return response


def to_bytes(query: dns.message.Message, response: dns.message.Message, *, udp: bool) -> bytes:
    """The response's bytes; over UDP one that does not fit is cut and says so, to be asked again over TCP."""
    most = 65535
    if udp:
        most = min(UDP_MOST, max(512, query.payload)) if query.edns >= 0 else 512
    try:
        return response.to_wire(max_size=most)
    except dns.exception.TooBig:
        return _truncated(response, most)


def _truncated(response: dns.message.Message, most: int) -> bytes:
    """As many answers as fit, with TC."""
    response.flags |= dns.flags.TC
    response.additional.clear()
    response.authority.clear()
    while True:
        try:
            return response.to_wire(max_size=most)
        except dns.exception.TooBig:
            last = response.answer.pop()
            if len(last) > 1:
                half = list(last)[: len(last) // 2]
                response.answer.append(dns.rrset.from_rdata_list(last.name, last.ttl, half))


def _put(response: dns.message.Message, section: list[dns.rrset.RRset], record: Record) -> None:
    kind = dns.rdatatype.from_text(record.type)
    name = dns.name.from_text(record.name)
    rrset = response.find_rrset(section, name, dns.rdataclass.IN, kind, create=True)
    rrset.add(dns.rdata.from_text(dns.rdataclass.IN, kind, _text(record)), TTL_S)


def _text(record: Record) -> str:
    if isinstance(record.value, tuple):
        priority, weight, port, target = record.value
        return f"{priority} {weight} {port} {target}."
    if record.type in ("CNAME", "PTR", "NS"):
        return f"{record.value}."
    return f'"{record.value}"' if record.type == "TXT" else record.value


def _soa(domain: str) -> dns.rrset.RRset:
    text = f"ns.dns.{domain}. hostmaster.{domain}. 1 7200 1800 86400 {NEGATIVE_TTL_S}"
    return dns.rrset.from_text(f"{domain}.", NEGATIVE_TTL_S, "IN", "SOA", text)
