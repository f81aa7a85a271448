output "cron_jobs" {
  description = "By assignee."
  value       = { agent = module.agent.cron_jobs, night-agent = module.night_agent.cron_jobs }
}
