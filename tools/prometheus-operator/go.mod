module beads-dispatch.invalid/tools/prometheus-operator
go 1.25.8

// Only its example/prometheus-operator-crd is used: what a ServiceMonitor, a PodMonitor and a PrometheusRule may hold.
require github.com/prometheus-operator/prometheus-operator v0.79.2
