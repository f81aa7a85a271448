output "metrics_url" {
  description = "For Prometheus."
  value       = module.beads_dispatch.metrics_url
}
