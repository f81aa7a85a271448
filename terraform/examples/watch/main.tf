# One Deployment in place of two CronJobs, behind a NetworkPolicy that lets Prometheus in.
module "beads_dispatch" {
  source = "../.."

  mode                     = "watch"
  image                    = var.image
  project_id               = var.project_id
  namespace                = var.namespace
  create_namespace         = true
  beads_dispatcher_enabled = var.beads_dispatcher_enabled
  log_format               = "json"
  network_policy_enabled   = true
  metrics_namespace        = "monitoring"
}
