# A cluster without BeadBoard: each dispatch is a Kubernetes Job, and its agent is a shell script in our own image.
module "beads_dispatch" {
  source = "../.."

  mode                     = "watch"
  image                    = var.image
  project_id               = var.project_id
  dolt_host                = var.dolt_host
  namespace                = var.namespace
  create_namespace         = true
  beads_dispatcher_enabled = var.beads_dispatcher_enabled

  runner                 = "jobs"
  agent_jobs             = 3
  agent_namespace        = "${var.namespace}-agents"
  create_agent_namespace = true
  agent = {
    image    = var.image # yours has your agent, git and bd
    command  = ["sh", "-c", file("${path.module}/agent.sh")]
    env      = { HOME = "/work", WORK = var.work }
    requests = { cpu = "100m", memory = "64Mi" }
    limits   = { memory = "256Mi" }
    volumes  = { work = { mount_path = "/work", size = "1Gi" } }
  }
}
