output "namespace" {
  description = "The namespace of everything here."
  value       = local.namespace
}

output "metadata_config_map_name" {
  description = "Name of the ConfigMap that holds `metadata.json`."
  value       = kubernetes_config_map_v1.beads_metadata.metadata[0].name
}

output "cron_jobs" {
  description = "Names of the CronJobs, by `dispatcher` and `reaper`; empty in mode `watch`."
  value       = { for key, job in kubernetes_cron_job_v1.this : key => job.metadata[0].name }
}

output "agent" {
  description = "Namespace and name of the CronJob that is the agent; `null` in runner `beadboard`."
  value       = var.runner == "jobs" ? { namespace = local.agent_namespace, cron_job = local.agent_name } : null
}

output "watcher" {
  description = "Name of the watcher's Deployment; `null` in mode `cronjobs`."
  value       = one(kubernetes_deployment_v1.watcher[*].metadata[0].name)
}

output "metrics_url" {
  description = "Where Prometheus finds the watcher's metrics inside the cluster; `null` in mode `cronjobs`."
  value       = var.mode == "watch" ? "http://${var.watcher_name}.${local.namespace}.svc:${local.metrics.port}/metrics" : null
}

output "monitoring" {
  description = "Objects for the Prometheus Operator, by kind: `PrometheusRule`; in mode `watch` also `ServiceMonitor` and `PodMonitor` (you need one of the two). Apply them with `kubernetes_manifest`: see [Alerts](#alerts)."
  value       = { for one in local.monitoring : one.kind => one if var.mode == "watch" || one.kind == "PrometheusRule" }
}
