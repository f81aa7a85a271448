# The pair as its users have it, shortened.
resource "kubernetes_config_map_v1" "beads_metadata" {
  metadata {
    name      = "beads-metadata"
    namespace = "beads-server"
  }

  data = { "metadata.json" = "{}" }
}

resource "kubernetes_cron_job_v1" "beads_dispatcher" {
  metadata {
    name      = "beads-dispatcher"
    namespace = "beads-server"
  }

  spec {
    schedule = "*/2 * * * *"

    job_template {
      metadata {}

      spec {
        template {
          metadata {}

          spec {
            container {
              name  = "dispatcher"
              image = "registry.example.org/infra:1"
            }
          }
        }
      }
    }
  }
}

resource "kubernetes_cron_job_v1" "beads_reaper" {
  metadata {
    name      = "beads-reaper"
    namespace = "beads-server"
  }

  spec {
    schedule = "*/10 * * * *"

    job_template {
      metadata {}

      spec {
        template {
          metadata {}

          spec {
            container {
              name  = "reaper"
              image = "registry.example.org/infra:1"
            }
          }
        }
      }
    }
  }
}
