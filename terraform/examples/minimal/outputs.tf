output "cron_jobs" {
  description = "For `kubectl create job --from=cronjob/...`."
  value       = module.beads_dispatch.cron_jobs
}
