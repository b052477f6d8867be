"""Decisions of the node runtime: pod to sandbox and container configurations, what to do next, what to report.

Pure: the pod, what the runtime reports, fetched objects and the clock come in as values; configurations, actions and
status go out as values. Who may import it: kube.kubelet and tests.
"""
