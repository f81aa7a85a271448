# runner = "jobs": agents are Kubernetes Jobs, made from a suspended CronJob.
mock_provider "kubernetes" {}

variables {
  image      = "registry.example.org/beads-dispatch:0.1.0"
  project_id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
  runner     = "jobs"
  agent      = { image = "registry.example.org/agent:1" }
}

run "the_agent" {
  command = plan

  assert {
    condition     = [for job in kubernetes_cron_job_v1.agent : "${job.metadata[0].namespace}/${job.metadata[0].name} ${job.spec[0].suspend}"] == ["beads-agents/beads-agent true"]
    error_message = "one CronJob that never runs by itself, in a namespace of its own"
  }
  assert {
    condition = alltrue([for spec in kubernetes_cron_job_v1.agent[0].spec[0].job_template[0].spec : alltrue([
      spec.active_deadline_seconds == 7200,
      spec.backoff_limit == 0,
      spec.ttl_seconds_after_finished == "604800",
      spec.template[0].spec[0].restart_policy == "Never",
    ])])
    error_message = "two hours, no retry, a week to look at it"
  }
  assert {
    condition = alltrue([for container in kubernetes_cron_job_v1.agent[0].spec[0].job_template[0].spec[0].template[0].spec[0].container : alltrue([
      container.image == "registry.example.org/agent:1",
      container.command == null,
      container.args == null,
      length(container.env) == 0,
      container.termination_message_policy == "FallbackToLogsOnError",
      [for mount in container.volume_mount : "${mount.name} ${mount.mount_path} ${mount.read_only}"] == ["beads-metadata /etc/beads-metadata true"],
    ])])
    error_message = "the image as it is, with metadata.json"
  }
  assert {
    condition     = [for map in kubernetes_config_map_v1.agents_metadata : "${map.metadata[0].namespace}/${map.metadata[0].name} ${map.data["metadata.json"] == kubernetes_config_map_v1.beads_metadata.data["metadata.json"]}"] == ["beads-agents/beads-metadata true"]
    error_message = "the same metadata.json in the agents' namespace"
  }
  assert {
    condition     = length(kubernetes_namespace_v1.agents) == 0
    error_message = "the namespace is there, unless asked for"
  }
  assert {
    condition     = output.agent == { namespace = "beads-agents", cron_job = "beads-agent" }
    error_message = "the output names it"
  }
}

run "restricted_pod_security_for_the_agent" {
  command = plan

  assert {
    condition = alltrue([for pod in kubernetes_cron_job_v1.agent[0].spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      pod.automount_service_account_token == false,
      pod.service_account_name == null,
      pod.security_context[0].run_as_non_root == true,
      pod.security_context[0].run_as_user == null,
      pod.security_context[0].seccomp_profile[0].type == "RuntimeDefault",
      pod.container[0].security_context[0].allow_privilege_escalation == false,
      pod.container[0].security_context[0].capabilities[0].drop == tolist(["ALL"]),
    ])])
    error_message = "the agent's pod must pass `restricted`, without a token"
  }
}

run "what_our_pods_may_do" {
  command = plan

  assert {
    condition = [for rule in kubernetes_role_v1.this[0].rule :
      "${join(",", rule.verbs)} ${join(",", rule.api_groups)}/${join(",", rule.resources)} ${join(",", coalesce(rule.resource_names, []))}"
      ] == [
      "get batch/cronjobs beads-agent",
      "create,delete,get,list batch/jobs ",
      "list /pods ",
      "get /pods/log ",
      "list /events ",
    ]
    error_message = "no right but these"
  }
  assert {
    condition = alltrue([
      "${kubernetes_role_v1.this[0].metadata[0].namespace}/${kubernetes_role_v1.this[0].metadata[0].name}" == "beads-agents/beads-dispatcher",
      "${kubernetes_role_binding_v1.this[0].metadata[0].namespace}/${kubernetes_role_binding_v1.this[0].metadata[0].name}" == "beads-agents/beads-dispatcher",
      kubernetes_role_binding_v1.this[0].role_ref[0].name == "beads-dispatcher",
      [for one in kubernetes_role_binding_v1.this[0].subject : "${one.kind} ${one.namespace}/${one.name}"] == ["ServiceAccount beads-server/beads-dispatcher"],
      kubernetes_service_account_v1.this[0].automount_service_account_token == false,
    ])
    error_message = "in the agents' namespace only, for our own service account"
  }
  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for pod in job.spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      pod.service_account_name == "beads-dispatcher",
      pod.automount_service_account_token == true,
    ])])])
    error_message = "both jobs' pods have its token"
  }
}

run "the_environment" {
  command = plan

  variables {
    agent_jobs = 3
  }

  assert {
    condition = { for key, job in kubernetes_cron_job_v1.this : key => { for env in job.spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : env.name => env.value } } == {
      dispatcher = {
        BEADS_ACTOR                    = "beads-dispatcher"
        BEADS_AGENT_CRONJOB            = "beads-agents/beads-agent"
        BEADS_AGENT_JOBS               = "3"
        BEADS_ASSIGNEE                 = "agent"
        BEADS_DISPATCH_PER_TICK        = "1"
        BEADS_REAPER_THRESHOLD_MINUTES = "30"
        HOME                           = "/tmp"
        LOG_FORMAT                     = "text"
      }
      reaper = {
        BEADS_ACTOR                    = "beads-reaper"
        BEADS_AGENT_CRONJOB            = "beads-agents/beads-agent"
        BEADS_AGENT_JOBS               = "3"
        BEADS_ASSIGNEE                 = "agent"
        BEADS_REAPER_THRESHOLD_MINUTES = "30"
        HOME                           = "/tmp"
        LOG_FORMAT                     = "text"
      }
    }
    error_message = "the CronJob in place of BeadBoard and the agent service"
  }
}

run "watch" {
  command = plan

  variables {
    mode = "watch"
  }

  assert {
    condition = alltrue([for pod in kubernetes_deployment_v1.watcher[0].spec[0].template[0].spec : alltrue([
      pod.service_account_name == "beads-dispatcher",
      pod.automount_service_account_token == true,
      contains([for env in pod.container[0].env : "${env.name}=${env.value}"], "BEADS_AGENT_CRONJOB=beads-agents/beads-agent"),
      !contains([for env in pod.container[0].env : env.name], "BEADBOARD_URL"),
      !contains([for env in pod.container[0].env : env.name], "AGENT_SERVICE_URL"),
    ])])
    error_message = "the watcher too"
  }
}

run "everything_of_the_agent" {
  command = plan

  variables {
    create_agent_namespace = true
    agent_namespace        = "night-agents"
    dispatcher_name        = "night-dispatcher"
    annotations            = { a = "b" }
    agent = {
      name               = "night-agent"
      image              = "registry.example.org/agent:1"
      command            = ["agent"]
      args               = ["--fast"]
      env                = { HOME = "/home/agent" }
      secret_env         = { ANTHROPIC_API_KEY = { name = "anthropic", key = "api_key" } }
      image_pull_policy  = "Always"
      image_pull_secrets = ["registry-credentials"]
      requests           = { cpu = "1" }
      limits             = { memory = "4Gi", cpu = "2" }
      deadline_seconds   = 3600
      run_as_user        = 1000
      service_account    = "agent"
      node_selector      = { pool = "agents" }
      tolerations        = [{ key = "agents", operator = "Exists", effect = "NoSchedule" }]
      pod_labels         = { team = "beads" }
      pod_annotations    = { "linkerd.io/inject" = "disabled" }
      volumes = {
        cache  = { mount_path = "/cache", claim = "agents-cache", read_only = true }
        config = { mount_path = "/config", config_map = "agents-config" }
        key    = { mount_path = "/key", secret = "deploy-key" }
        work   = { mount_path = "/work", size = "10Gi" }
      }
    }
  }

  assert {
    condition     = [for namespace in kubernetes_namespace_v1.agents : namespace.metadata[0].name] == ["night-agents"]
    error_message = "the namespace is made"
  }
  assert {
    condition = alltrue([
      "${kubernetes_cron_job_v1.agent[0].metadata[0].namespace}/${kubernetes_cron_job_v1.agent[0].metadata[0].name}" == "night-agents/night-agent",
      kubernetes_cron_job_v1.agent[0].metadata[0].annotations == tomap({ a = "b" }),
      kubernetes_role_v1.this[0].metadata[0].name == "night-dispatcher",
      kubernetes_role_v1.this[0].rule[0].resource_names == toset(["night-agent"]),
      contains([for env in kubernetes_cron_job_v1.this["reaper"].spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : "${env.name}=${env.value}"], "BEADS_AGENT_CRONJOB=night-agents/night-agent"),
    ])
    error_message = "by the names given"
  }
  assert {
    condition = alltrue([for pod in kubernetes_cron_job_v1.agent[0].spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      pod.service_account_name == "agent",
      pod.automount_service_account_token == true,
      pod.security_context[0].run_as_user == "1000",
      pod.security_context[0].fs_group == "1000",
      pod.node_selector == tomap({ pool = "agents" }),
      [for one in pod.image_pull_secrets : one.name] == ["registry-credentials"],
      [for one in pod.toleration : "${one.key} ${one.operator} ${one.effect}"] == ["agents Exists NoSchedule"],
      kubernetes_cron_job_v1.agent[0].spec[0].job_template[0].spec[0].active_deadline_seconds == 3600,
    ])])
    error_message = "the pod as given"
  }
  assert {
    condition = alltrue([for metadata in kubernetes_cron_job_v1.agent[0].spec[0].job_template[0].spec[0].template[0].metadata : alltrue([
      metadata.labels["team"] == "beads",
      metadata.annotations == tomap({ "linkerd.io/inject" = "disabled" }),
    ])])
    error_message = "with labels and annotations"
  }
  assert {
    condition = alltrue([for container in kubernetes_cron_job_v1.agent[0].spec[0].job_template[0].spec[0].template[0].spec[0].container : alltrue([
      container.command == tolist(["agent"]),
      container.args == tolist(["--fast"]),
      container.image_pull_policy == "Always",
      container.resources[0].limits == tomap({ memory = "4Gi", cpu = "2" }),
      container.resources[0].requests == tomap({ cpu = "1" }),
      [for env in container.env : "${env.name}=${env.value}" if env.value != null] == ["HOME=/home/agent"],
      [for env in container.env : "${env.name} ${env.value_from[0].secret_key_ref[0].name}/${env.value_from[0].secret_key_ref[0].key}" if env.value == null] == ["ANTHROPIC_API_KEY anthropic/api_key"],
      [for mount in container.volume_mount : "${mount.name} ${mount.mount_path} ${mount.read_only}"] == ["beads-metadata /etc/beads-metadata true", "cache /cache true", "config /config false", "key /key false", "work /work false"],
    ])])
    error_message = "the container as given, its secret by reference"
  }
  assert {
    condition = alltrue([for pod in kubernetes_cron_job_v1.agent[0].spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      { for one in pod.volume : one.name => one.persistent_volume_claim[0].claim_name if length(one.persistent_volume_claim) > 0 } == { cache = "agents-cache" },
      { for one in pod.volume : one.name => one.config_map[0].name if length(one.config_map) > 0 } == { beads-metadata = "beads-metadata", config = "agents-config" },
      { for one in pod.volume : one.name => one.secret[0].secret_name if length(one.secret) > 0 } == { key = "deploy-key" },
      { for one in pod.volume : one.name => one.empty_dir[0].size_limit if length(one.empty_dir) > 0 } == { work = "10Gi" },
    ])])
    error_message = "and its volumes"
  }
}

run "an_existing_cron_job" {
  command = plan

  variables {
    agent          = null
    agent_cron_job = "my-agent"
  }

  assert {
    condition     = length(kubernetes_cron_job_v1.agent) + length(kubernetes_config_map_v1.agents_metadata) == 0
    error_message = "nothing is made in its place"
  }
  assert {
    condition = alltrue([
      kubernetes_role_v1.this[0].rule[0].resource_names == toset(["my-agent"]),
      contains([for env in kubernetes_cron_job_v1.this["dispatcher"].spec[0].job_template[0].spec[0].template[0].spec[0].container[0].env : "${env.name}=${env.value}"], "BEADS_AGENT_CRONJOB=beads-agents/my-agent"),
    ])
    error_message = "and it is used"
  }
}

run "the_network_policy" {
  command = plan

  variables {
    network_policy_enabled = true
    network_policy_peers   = { api_server = { cidr = "10.0.0.1/32", port = 6443 } }
  }

  assert {
    condition = toset([for rule in kubernetes_network_policy_v1.this[0].spec[0].egress :
      "${try(rule.to[0].namespace_selector[0].match_labels["kubernetes.io/metadata.name"], rule.to[0].ip_block[0].cidr)} ${rule.ports[0].port}"
    ]) == toset(["beads-server 3306", "kube-system 53", "10.0.0.1/32 6443"])
    error_message = "out to Dolt, DNS and the API server only"
  }
}

run "neither_agent_nor_cron_job" {
  command = plan

  variables {
    agent = null
  }

  expect_failures = [var.runner]
}

run "both_agent_and_cron_job" {
  command = plan

  variables {
    agent_cron_job = "my-agent"
  }

  expect_failures = [var.runner]
}

run "an_agent_without_its_runner" {
  command = plan

  variables {
    runner = "beadboard"
  }

  expect_failures = [var.runner]
}

run "agents_among_our_secrets" {
  command = plan

  variables {
    agent_namespace = "beads-server"
  }

  expect_failures = [var.agent_namespace]
}

run "other_runners_have_no_token_and_no_right" {
  command = plan

  variables {
    runner = "beadboard"
    agent  = null
  }

  assert {
    condition     = length(kubernetes_service_account_v1.this) + length(kubernetes_role_v1.this) + length(kubernetes_role_binding_v1.this) + length(kubernetes_cron_job_v1.agent) == 0
    error_message = "no account, no Role"
  }
  assert {
    condition = alltrue([for job in kubernetes_cron_job_v1.this : alltrue([for pod in job.spec[0].job_template[0].spec[0].template[0].spec : alltrue([
      pod.service_account_name == null,
      pod.automount_service_account_token == false,
    ])])])
    error_message = "no token"
  }
  assert {
    condition     = output.agent == null
    error_message = "no agent"
  }
}
