output "agent" {
  description = "The CronJob that is the agent."
  value       = module.beads_dispatch.agent
}
