module "beads_dispatch" {
  source = "../.."

  image                    = var.image
  project_id               = var.project_id
  namespace                = var.namespace
  create_namespace         = true
  beads_dispatcher_enabled = var.beads_dispatcher_enabled
}
