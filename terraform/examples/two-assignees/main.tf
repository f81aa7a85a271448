# A second assignee, or a second database, is a second call with names of its own.
module "agent" {
  source = "../.."

  image                    = var.image
  project_id               = var.project_id
  namespace                = var.namespace
  create_namespace         = true
  beads_dispatcher_enabled = var.beads_dispatcher_enabled
}

module "night_agent" {
  source = "../.."

  assignee            = "night-agent"
  dispatcher_schedule = "*/5 0-5 * * *"
  time_zone           = "Europe/Berlin"

  dispatcher_name          = "night-dispatcher"
  reaper_name              = "night-reaper"
  metadata_config_map_name = "night-metadata"

  image                    = var.image
  project_id               = var.project_id
  namespace                = module.agent.namespace
  beads_dispatcher_enabled = var.beads_dispatcher_enabled
}
