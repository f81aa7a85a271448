# runner = "jobs": the agent, its namespace, and what our pods may do there.
resource "kubernetes_namespace_v1" "agents" {
  count = var.create_agent_namespace ? local.runs_jobs : 0

  metadata {
    name   = var.agent_namespace
    labels = local.labels
  }
}

# The agent is a CronJob that never runs by itself: each dispatch is a Job made from it.
resource "kubernetes_cron_job_v1" "agent" {
  count = local.makes_agent

  metadata {
    name        = var.agent.name
    namespace   = local.agent_namespace
    labels      = local.labels
    annotations = var.annotations
  }

  spec {
    schedule           = "0 0 1 1 *" # required; it does not count
    suspend            = true
    concurrency_policy = "Forbid"

    job_template {
      metadata {
        labels = local.labels
      }

      spec {
        active_deadline_seconds    = var.agent.deadline_seconds
        backoff_limit              = 0
        ttl_seconds_after_finished = tostring(7 * 24 * 3600)

        template {
          metadata {
            labels      = merge(var.agent.pod_labels, local.labels)
            annotations = var.agent.pod_annotations
          }

          spec {
            restart_policy                  = "Never"
            service_account_name            = var.agent.service_account
            automount_service_account_token = var.agent.service_account != null
            enable_service_links            = false
            node_selector                   = var.agent.node_selector

            security_context {
              run_as_non_root = true
              run_as_user     = var.agent.run_as_user == null ? null : tostring(var.agent.run_as_user)
              fs_group        = var.agent.run_as_user == null ? null : tostring(var.agent.run_as_user)
              seccomp_profile {
                type = "RuntimeDefault"
              }
            }

            dynamic "image_pull_secrets" {
              for_each = var.agent.image_pull_secrets
              content {
                name = image_pull_secrets.value
              }
            }

            dynamic "toleration" {
              for_each = var.agent.tolerations
              content {
                key                = toleration.value.key
                operator           = toleration.value.operator
                value              = toleration.value.value
                effect             = toleration.value.effect
                toleration_seconds = toleration.value.toleration_seconds
              }
            }

            container {
              name                       = "agent"
              image                      = var.agent.image
              image_pull_policy          = var.agent.image_pull_policy
              command                    = var.agent.command
              args                       = var.agent.args
              termination_message_policy = "FallbackToLogsOnError"

              dynamic "env" {
                for_each = var.agent.env
                content {
                  name  = env.key
                  value = env.value
                }
              }

              dynamic "env" {
                for_each = var.agent.secret_env
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
                requests = var.agent.requests
                limits   = var.agent.limits
              }

              security_context {
                allow_privilege_escalation = false
                capabilities {
                  drop = ["ALL"]
                }
              }

              # Its bd finds the database by it, in a copy: bd writes beside it.
              volume_mount {
                name       = "beads-metadata"
                mount_path = local.mount_paths.metadata
                read_only  = true
              }

              dynamic "volume_mount" {
                for_each = var.agent.volumes
                content {
                  name       = volume_mount.key
                  mount_path = volume_mount.value.mount_path
                  read_only  = volume_mount.value.read_only
                }
              }
            }

            volume {
              name = "beads-metadata"
              config_map {
                name = kubernetes_config_map_v1.agents_metadata[0].metadata[0].name
              }
            }

            dynamic "volume" {
              for_each = var.agent.volumes
              content {
                name = volume.key
                dynamic "persistent_volume_claim" {
                  for_each = volume.value.claim[*]
                  content {
                    claim_name = persistent_volume_claim.value
                    read_only  = volume.value.read_only
                  }
                }
                dynamic "config_map" {
                  for_each = volume.value.config_map[*]
                  content {
                    name = config_map.value
                  }
                }
                dynamic "secret" {
                  for_each = volume.value.secret[*]
                  content {
                    secret_name = secret.value
                  }
                }
                dynamic "empty_dir" {
                  for_each = volume.value.size[*]
                  content {
                    size_limit = empty_dir.value
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

resource "kubernetes_config_map_v1" "agents_metadata" {
  count = local.makes_agent

  metadata {
    name      = var.metadata_config_map_name
    namespace = local.agent_namespace
    labels    = local.labels
  }

  data = { "metadata.json" = local.metadata }
}

# --- what our pods may do: nothing but this, and only in this runner ---
resource "kubernetes_service_account_v1" "this" {
  count = local.runs_jobs

  metadata {
    name      = var.dispatcher_name
    namespace = local.namespace
    labels    = local.labels
  }

  automount_service_account_token = false # our pods ask for it themselves
}

# Whoever may create Jobs reaches every Secret of their namespace: hence one for the agents alone.
resource "kubernetes_role_v1" "this" {
  count = local.runs_jobs

  metadata {
    name      = var.dispatcher_name
    namespace = local.agent_namespace
    labels    = local.labels
  }

  rule {
    api_groups     = ["batch"]
    resources      = ["cronjobs"]
    resource_names = [local.agent_name]
    verbs          = ["get"]
  }
  rule {
    api_groups = ["batch"]
    resources  = ["jobs"]
    verbs      = ["create", "delete", "get", "list"]
  }
  rule {
    api_groups = [""]
    resources  = ["pods"]
    verbs      = ["list"]
  }
  rule {
    api_groups = [""]
    resources  = ["pods/log"]
    verbs      = ["get"]
  }
  rule { # a quota's refusal shows only there
    api_groups = [""]
    resources  = ["events"]
    verbs      = ["list"]
  }
}

resource "kubernetes_role_binding_v1" "this" {
  count = local.runs_jobs

  metadata {
    name      = var.dispatcher_name
    namespace = local.agent_namespace
    labels    = local.labels
  }

  role_ref {
    api_group = "rbac.authorization.k8s.io"
    kind      = "Role"
    name      = kubernetes_role_v1.this[0].metadata[0].name
  }

  subject {
    kind      = "ServiceAccount"
    name      = kubernetes_service_account_v1.this[0].metadata[0].name
    namespace = local.namespace
  }
}
