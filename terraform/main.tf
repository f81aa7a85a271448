resource "kubernetes_namespace_v1" "this" {
  count = var.create_namespace ? 1 : 0

  metadata {
    name   = var.namespace
    labels = local.labels
  }
}

resource "kubernetes_config_map_v1" "beads_metadata" {
  metadata {
    name      = var.metadata_config_map_name
    namespace = local.namespace
    labels    = local.labels
  }

  data = { "metadata.json" = local.metadata }
}

# The dispatcher and the reaper: one template, and local.jobs is all that they differ in.
resource "kubernetes_cron_job_v1" "this" {
  for_each = local.cron_jobs

  metadata {
    name        = each.value.name
    namespace   = local.namespace
    labels      = merge(local.labels, { "app.kubernetes.io/instance" = each.value.name })
    annotations = var.annotations
  }

  spec {
    schedule                      = each.value.schedule
    timezone                      = var.time_zone
    suspend                       = !var.beads_dispatcher_enabled
    concurrency_policy            = "Forbid"
    starting_deadline_seconds     = 60 # without one, more than 100 missed starts end the schedule for good
    successful_jobs_history_limit = 3
    failed_jobs_history_limit     = 3

    job_template {
      metadata {
        labels = merge(local.labels, { "app.kubernetes.io/instance" = each.value.name })
      }

      spec {
        active_deadline_seconds = 300 # ends a hung tick
        backoff_limit           = 0   # the next tick is the retry

        template {
          metadata {
            labels      = merge(var.pod_labels, local.labels, { "app.kubernetes.io/instance" = each.value.name })
            annotations = var.pod_annotations
          }

          spec {
            restart_policy                   = "Never"
            termination_grace_period_seconds = local.grace
            service_account_name             = one(kubernetes_service_account_v1.this[*].metadata[0].name)
            automount_service_account_token  = var.runner == "jobs" # nobody else asks the API server anything
            enable_service_links             = false
            node_selector                    = var.node_selector
            priority_class_name              = var.priority_class_name

            security_context {
              run_as_non_root = true
              run_as_user     = local.user
              run_as_group    = local.user
              seccomp_profile {
                type = "RuntimeDefault"
              }
            }

            dynamic "image_pull_secrets" {
              for_each = var.image_pull_secret[*]
              content {
                name = image_pull_secrets.value
              }
            }

            dynamic "toleration" {
              for_each = var.tolerations
              content {
                key                = toleration.value.key
                operator           = toleration.value.operator
                value              = toleration.value.value
                effect             = toleration.value.effect
                toleration_seconds = toleration.value.toleration_seconds
              }
            }

            container {
              name                       = each.key
              image                      = var.image
              image_pull_policy          = var.image_pull_policy
              command                    = each.value.command
              termination_message_policy = "FallbackToLogsOnError" # `kubectl describe` says why it failed

              dynamic "env" {
                for_each = each.value.env
                content {
                  name  = env.key
                  value = env.value
                }
              }

              dynamic "env" {
                for_each = local.secret_env
                content {
                  name = env.key
                  value_from {
                    secret_key_ref {
                      name = env.value.name
                      key  = env.value.key
                    }
                  }
                }
              }

              resources {
                requests = { cpu = var.cpu_request, memory = var.memory_request }
                limits   = merge({ memory = var.memory_limit }, { for limit in var.cpu_limit[*] : "cpu" => limit })
              }

              security_context {
                allow_privilege_escalation = false
                read_only_root_filesystem  = true
                capabilities {
                  drop = ["ALL"]
                }
              }

              volume_mount {
                name       = "metadata"
                mount_path = local.mount_paths.metadata
                read_only  = true
              }

              volume_mount {
                name       = "tmp"
                mount_path = local.mount_paths.tmp
              }

              dynamic "volume_mount" {
                for_each = var.agent_service_token_secret[*]
                content {
                  name       = "token"
                  mount_path = local.mount_paths.token
                  read_only  = true
                }
              }
            }

            volume {
              name = "metadata"
              config_map {
                name = kubernetes_config_map_v1.beads_metadata.metadata[0].name
              }
            }

            # In memory, so that a tick writes nothing to a disk.
            volume {
              name = "tmp"
              empty_dir {
                medium     = "Memory"
                size_limit = local.tmp_size
              }
            }

            dynamic "volume" {
              for_each = var.agent_service_token_secret[*]
              content {
                name = "token"
                secret {
                  secret_name = volume.value.name
                  items {
                    key  = volume.value.key
                    path = "token"
                  }
                }
              }
            }
          }
        }
      }
    }
  }

  lifecycle {
    # Kyverno writes it at admission.
    ignore_changes = [spec[0].job_template[0].spec[0].template[0].spec[0].dns_config]
  }
}
