output "metrics_url" {
  description = "For Prometheus."
  value       = module.beads_dispatch.metrics_url
}

output "monitoring" {
  description = "For the Prometheus Operator: `terraform output -json monitoring | jq '.PrometheusRule, .ServiceMonitor' | kubectl apply -f -`."
  value       = module.beads_dispatch.monitoring
}
