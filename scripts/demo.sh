#!/usr/bin/env bash
# The documented picture: an overlay cluster of two nodes with three pods each, probed, with real packets.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
GROUP=myResourceGroup CLUSTER=myOverlayCluster
bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }

bold "The lab: a local cloud on this machine"
podloom lab up -o none
eval "$(podloom lab env)"

bold "An overlay cluster: two nodes, pods from 192.168.0.0/16"
podloom group create --name $GROUP --location westcentralus -o none
podloom aks create --name $CLUSTER --resource-group $GROUP --location westcentralus --network-plugin azure \
    --network-plugin-mode overlay --pod-cidr 192.168.0.0/16 --node-count 2 --generate-ssh-keys -o table
podloom aks get-credentials --name $CLUSTER --resource-group $GROUP --overwrite-existing

bold "Three pods on each node"
kubectl apply -f - <<'EOF'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - {name: nginx, image: nginx, imagePullPolicy: IfNotPresent, ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80}]
EOF
kubectl rollout status deployment/web --timeout=120s
kubectl get nodes,pods -o wide

bold "Who reaches whom, and whom the other side sees"
podloom connectivity --name $CLUSTER --resource-group $GROUP -o table

bold "It runs. Try next:"
cat <<EOF
  eval "\$(.venv/bin/podloom lab env)"
  kubectl get nodenetworkconfigs -n kube-system
  kubectl exec deploy/web -- wget -qO- http://web
  kubectl run shell --rm -it --image=busybox -- sh
  .venv/bin/podloom aks scale -n $CLUSTER -g $GROUP --node-count 3
  ip netns
  make clean
EOF
