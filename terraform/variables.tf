# --- the switch, and how it runs ---

variable "beads_dispatcher_enabled" {
  description = "The kill switch. `false` suspends both CronJobs, or takes the watcher down to 0 replicas, and changes nothing else. What is under way ends by itself."
  type        = bool
  default     = true
  nullable    = false
}

variable "mode" {
  description = "`cronjobs`: a dispatcher and a reaper, each a CronJob. `watch`: one Deployment that does both, and serves metrics."
  type        = string
  default     = "cronjobs"
  nullable    = false

  validation {
    condition     = contains(["cronjobs", "watch"], var.mode)
    error_message = "mode must be \"cronjobs\" or \"watch\"."
  }
}

variable "image" {
  description = "The image of beads-dispatch, with tag or digest. Build it with the bd version that your other clients use: with another one it may refuse to write (docs/upgrading.md)."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-zA-Z0-9][a-zA-Z0-9._:/-]*(@sha256:[0-9a-f]{64})?$", var.image))
    error_message = "image must name an image, such as \"registry.example.org/beads-dispatch:0.1.0\"."
  }
}

variable "image_pull_policy" {
  description = "`IfNotPresent`, `Always` or `Never`."
  type        = string
  default     = "IfNotPresent"
  nullable    = false

  validation {
    condition     = contains(["IfNotPresent", "Always", "Never"], var.image_pull_policy)
    error_message = "image_pull_policy must be IfNotPresent, Always or Never."
  }
}

variable "image_pull_secret" {
  description = "Name of the Secret to pull the image with, such as `registry-credentials`. It must be there already."
  type        = string
  default     = null

  validation {
    condition     = var.image_pull_secret == null || can(regex(local.dns_name, var.image_pull_secret))
    error_message = "image_pull_secret must be the name of a Secret, or null."
  }
}

# --- where it lives ---

variable "namespace" {
  description = "The namespace of everything here."
  type        = string
  default     = "beads-server"
  nullable    = false

  validation {
    condition     = can(regex(local.dns_label, var.namespace))
    error_message = "namespace must be at most 63 lower-case letters, digits and dashes."
  }
}

variable "create_namespace" {
  description = "Whether to make the namespace. It usually exists."
  type        = bool
  default     = false
  nullable    = false
}

variable "dispatcher_name" {
  description = "Name of the dispatcher's CronJob, of the NetworkPolicy, and of ServiceAccount, Role and RoleBinding (runner `jobs`)."
  type        = string
  default     = "beads-dispatcher"
  nullable    = false

  validation {
    condition     = can(regex(local.dns_label, var.dispatcher_name)) && length(var.dispatcher_name) <= 52
    error_message = "dispatcher_name must be at most 52 lower-case letters, digits and dashes: Kubernetes makes the Jobs' names from it."
  }
}

variable "reaper_name" {
  description = "Name of the reaper's CronJob."
  type        = string
  default     = "beads-reaper"
  nullable    = false

  validation {
    condition     = can(regex(local.dns_label, var.reaper_name)) && length(var.reaper_name) <= 52
    error_message = "reaper_name must be at most 52 lower-case letters, digits and dashes: Kubernetes makes the Jobs' names from it."
  }
  validation {
    condition     = var.reaper_name != var.dispatcher_name
    error_message = "reaper_name must differ from dispatcher_name: both are CronJobs."
  }
}

variable "watcher_name" {
  description = "Name of the watcher's Deployment and Service (mode `watch`)."
  type        = string
  default     = "beads-watcher"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]", var.watcher_name)) && can(regex(local.dns_label, var.watcher_name)) && length(var.watcher_name) <= 52
    error_message = "watcher_name must be at most 52 lower-case letters, digits and dashes, a letter first: a Service has it too."
  }
}

variable "metadata_config_map_name" {
  description = "Name of the ConfigMap that holds `metadata.json`."
  type        = string
  default     = "beads-metadata"
  nullable    = false

  validation {
    condition     = can(regex(local.dns_name, var.metadata_config_map_name))
    error_message = "metadata_config_map_name must be lower-case letters, digits, dashes and dots."
  }
}

# --- whose beads, and where they are ---

variable "assignee" {
  description = "Whose beads these are. A second assignee is a second module call."
  type        = string
  default     = "agent"
  nullable    = false

  validation {
    condition     = can(regex("^[^[:cntrl:]]{1,255}$", var.assignee)) && trimspace(var.assignee) != ""
    error_message = "assignee must be a name of 1 to 255 printable characters, such as \"agent\"."
  }
}

variable "project_id" {
  description = "The beads database's `_project_id`: `project_id` in any client's `.beads/metadata.json`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", var.project_id))
    error_message = "project_id must be the UUID in the beads database: take it from a client's .beads/metadata.json."
  }
}

variable "dolt_host" {
  description = "Host of the Dolt server, without scheme and port."
  type        = string
  default     = "dolt.beads-server.svc.cluster.local"
  nullable    = false

  validation {
    condition     = can(regex("^[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$", var.dolt_host))
    error_message = "dolt_host must be a host name or an IPv4 address alone; the port goes into dolt_port."
  }
}

variable "dolt_port" {
  description = "Port of the Dolt server."
  type        = number
  default     = 3306
  nullable    = false

  validation {
    condition     = var.dolt_port >= 1 && var.dolt_port <= 65535 && floor(var.dolt_port) == var.dolt_port
    error_message = "dolt_port must be a whole number from 1 to 65535."
  }
}

variable "dolt_user" {
  description = "User at the Dolt server."
  type        = string
  default     = "beads"
  nullable    = false

  validation {
    condition     = can(regex("^[^[:space:][:cntrl:]]+$", var.dolt_user))
    error_message = "dolt_user must not be empty or hold white space."
  }
}

variable "dolt_database" {
  description = "The beads database at the Dolt server."
  type        = string
  default     = "code"
  nullable    = false

  validation {
    condition     = can(regex("^[a-zA-Z0-9_-]+$", var.dolt_database))
    error_message = "dolt_database must be letters, digits, dashes and underscores."
  }
}

variable "dolt_password_secret" {
  description = "Secret and key that hold Dolt's password. By reference only: the password is in no plan and no state."
  type        = object({ name = string, key = string })
  default     = null

  validation {
    condition = var.dolt_password_secret == null || (
      can(regex(local.dns_name, var.dolt_password_secret.name)) && can(regex(local.secret_key, var.dolt_password_secret.key))
    )
    error_message = "dolt_password_secret must name a Secret and a key in it: { name = \"dolt\", key = \"password\" }."
  }
}

# --- where agents run ---

variable "runner" {
  description = "`beadboard`: BeadBoard and its agent service run the agents. `jobs`: each dispatch is a Kubernetes Job, made from a suspended CronJob (`agent`, or an existing one: `agent_cron_job`); neither BeadBoard nor the agent service is needed."
  type        = string
  default     = "beadboard"
  nullable    = false

  validation {
    condition     = contains(["beadboard", "jobs"], var.runner)
    error_message = "runner must be \"beadboard\" or \"jobs\"."
  }
  validation {
    condition     = var.runner != "jobs" || (var.agent == null) != (var.agent_cron_job == null)
    error_message = "runner = \"jobs\" needs either agent, which makes the CronJob, or agent_cron_job, the name of an existing one."
  }
  validation {
    condition     = var.runner == "jobs" || (var.agent == null && var.agent_cron_job == null)
    error_message = "agent and agent_cron_job go with runner = \"jobs\"."
  }
}

variable "agent" {
  description = "The agent of runner `jobs`, as a CronJob that is suspended. `image` has it, and bd if it closes its beads itself; it finds the bead in `BEAD_ID` and so on, and `metadata.json` in `/etc/beads-metadata`. `secret_env`: by reference to Secrets in `agent_namespace`. `run_as_user`: the image's own, unless set; never root. `deadline_seconds`: how long a run may take. `service_account`: mounted only if named. `volumes`, by name: each has either `claim` (a PersistentVolumeClaim), `config_map`, `secret` or `size` (an emptyDir's limit). The pod meets the restricted Pod Security Standard. See [Kubernetes Jobs](../docs/kubernetes.md)."
  type = object({
    name               = optional(string, "beads-agent")
    image              = string
    command            = optional(list(string))
    args               = optional(list(string))
    env                = optional(map(string), {})
    secret_env         = optional(map(object({ name = string, key = string })), {})
    image_pull_policy  = optional(string, "IfNotPresent")
    image_pull_secrets = optional(list(string), [])
    requests           = optional(map(string), { cpu = "250m", memory = "512Mi" })
    limits             = optional(map(string), { memory = "2Gi" })
    deadline_seconds   = optional(number, 7200)
    run_as_user        = optional(number)
    service_account    = optional(string)
    node_selector      = optional(map(string), {})
    tolerations = optional(list(object({
      key                = optional(string)
      operator           = optional(string, "Equal")
      value              = optional(string)
      effect             = optional(string)
      toleration_seconds = optional(number)
    })), [])
    volumes = optional(map(object({
      mount_path = string
      read_only  = optional(bool, false)
      claim      = optional(string)
      config_map = optional(string)
      secret     = optional(string)
      size       = optional(string)
    })), {})
    pod_labels      = optional(map(string), {})
    pod_annotations = optional(map(string), {})
  })
  default = null

  validation {
    condition     = alltrue([for agent in var.agent[*] : can(regex(local.dns_label, agent.name)) && length(agent.name) <= 52])
    error_message = "agent: name must be at most 52 lower-case letters, digits and dashes."
  }
  validation {
    condition     = alltrue([for agent in var.agent[*] : agent.deadline_seconds >= 660 && floor(agent.deadline_seconds) == agent.deadline_seconds])
    error_message = "agent: deadline_seconds must be a whole number, at least 660: only after ten minutes is a pod that does not start known to be the agent's fault."
  }
  validation {
    condition     = alltrue([for agent in var.agent[*] : alltrue([for one in agent.volumes : length(compact([one.claim, one.config_map, one.secret, one.size])) == 1])])
    error_message = "agent: each of volumes needs exactly one of claim, config_map, secret and size."
  }
  validation {
    condition     = alltrue([for agent in var.agent[*] : !anytrue([for name in concat(keys(agent.env), keys(agent.secret_env)) : startswith(name, "BEAD_") || name == "BEADS_ACTOR"])])
    error_message = "agent: env must not hold BEAD_… or BEADS_ACTOR: each dispatch sets them."
  }
}

variable "agent_cron_job" {
  description = "Name of an existing CronJob in `agent_namespace` that is the agent, instead of `agent`. It should be suspended."
  type        = string
  default     = null

  validation {
    condition     = alltrue([for name in var.agent_cron_job[*] : can(regex(local.dns_name, name)) && length(name) <= 52])
    error_message = "agent_cron_job must be the name of a CronJob, or null."
  }
}

variable "agent_namespace" {
  description = "The agents' namespace (runner `jobs`), and theirs alone: whoever may create Jobs reaches every Secret of their namespace."
  type        = string
  default     = "beads-agents"
  nullable    = false

  validation {
    condition     = can(regex(local.dns_label, var.agent_namespace))
    error_message = "agent_namespace must be at most 63 lower-case letters, digits and dashes."
  }
  validation {
    condition     = var.runner != "jobs" || var.agent_namespace != var.namespace
    error_message = "agent_namespace must differ from namespace: our pods may create Jobs there, and so reach every Secret in it."
  }
}

variable "create_agent_namespace" {
  description = "Whether to make the agents' namespace."
  type        = bool
  default     = false
  nullable    = false
}

variable "agent_jobs" {
  description = "How many agents may run at once (runner `jobs`)."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.agent_jobs >= 1 && var.agent_jobs <= 999 && floor(var.agent_jobs) == var.agent_jobs
    error_message = "agent_jobs must be a whole number from 1 to 999."
  }
}

# --- the services ---

variable "beadboard_url" {
  description = "BeadBoard's base URL. Where BeadBoard is scaled to zero, it must be an address that wakes it: an in-cluster Service name does not wake Sablier."
  type        = string
  default     = "http://beadboard.beads-server.svc.cluster.local"
  nullable    = false

  validation {
    condition     = can(regex(local.url, var.beadboard_url))
    error_message = "beadboard_url must be http:// or https:// and a host, without user, password or query."
  }
}

variable "agent_service_url" {
  description = "The agent service's base URL: its `/health` must agree that there is room. `null`: only BeadBoard is asked, and it answers \"not busy\" while the agent service is down."
  type        = string
  default     = "http://claude-agent-service.claude-agent.svc.cluster.local:8080"

  validation {
    condition     = var.agent_service_url == null || can(regex(local.url, var.agent_service_url))
    error_message = "agent_service_url must be http:// or https:// and a host, without user, password or query; or null."
  }
}

variable "agent_service_token_secret" {
  description = "Secret, in `namespace`, and key that hold the agent service's bearer token, such as `{ name = \"beadboard-agent-service\", key = \"api_bearer_token\" }`. With it, how a run ends is known at the next sweep, and to a watcher within a minute. It is mounted, so a new token is taken up without a restart, and is in no plan and no state. `null`: no token."
  type        = object({ name = string, key = string })
  default     = null

  validation {
    condition = var.agent_service_token_secret == null || (
      can(regex(local.dns_name, var.agent_service_token_secret.name)) && can(regex(local.secret_key, var.agent_service_token_secret.key))
    )
    error_message = "agent_service_token_secret must name a Secret and a key in it: { name = \"beadboard-agent-service\", key = \"api_bearer_token\" }."
  }
}

variable "notify_urls_secret" {
  description = "Secret, in `namespace`, and key that hold Apprise URLs, separated by spaces, such as `{ name = \"beads-notify\", key = \"urls\" }`: a message goes there when we block a bead, give it up, or do not know whether it was dispatched, and when a usage limit holds the queue. By reference only: the URLs hold passwords, and are in no plan and no state. Under a NetworkPolicy it needs a peer of its own in `network_policy_peers`. `null`: no messages."
  type        = object({ name = string, key = string })
  default     = null

  validation {
    condition = var.notify_urls_secret == null || (
      can(regex(local.dns_name, var.notify_urls_secret.name)) && can(regex(local.secret_key, var.notify_urls_secret.key))
    )
    error_message = "notify_urls_secret must name a Secret and a key in it: { name = \"beads-notify\", key = \"urls\" }."
  }
}

# --- how much, how often ---

variable "beads_per_tick" {
  description = "How many beads a tick hands over at most."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.beads_per_tick >= 1 && var.beads_per_tick <= 999 && floor(var.beads_per_tick) == var.beads_per_tick
    error_message = "beads_per_tick must be a whole number from 1 to 999. To switch the dispatcher off set beads_dispatcher_enabled = false."
  }
}

variable "reaper_threshold_minutes" {
  description = "How long a bead in progress may make no progress before it is blocked. At least 15, the agent's own time limit."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.reaper_threshold_minutes >= 15 && var.reaper_threshold_minutes < 1000000
    error_message = "reaper_threshold_minutes must be at least 15: an agent may work that long without a word, and a shorter threshold blocks beads whose agent is alive."
  }
}

variable "dispatch_hours" {
  description = "When runs may start, such as `Mon-Fri 19:00-07:00, Sat-Sun`. Outside of these hours the queue waits, and what runs may finish. They are in the pods' zone: UTC, unless `extra_env` sets `TZ`. `null`: always."
  type        = string
  default     = null

  validation {
    condition = var.dispatch_hours == null || alltrue([
      for part in split(",", var.dispatch_hours == null ? "" : var.dispatch_hours) : can(regex(local.hours, trimspace(part)))
    ])
    error_message = "dispatch_hours must be days, times or both, with commas between the parts, such as \"Mon-Fri 19:00-07:00, Sat-Sun\"; or null."
  }
}

variable "runs_per_day" {
  description = "How many runs may start in a day, from midnight to midnight in the pods' zone. Then the queue waits. `null`: any number."
  type        = number
  default     = null

  validation {
    condition     = var.runs_per_day == null ? true : var.runs_per_day >= 1 && var.runs_per_day <= 9999 && floor(var.runs_per_day) == var.runs_per_day
    error_message = "runs_per_day must be a whole number from 1 to 9999, or null. To switch the dispatcher off set beads_dispatcher_enabled = false."
  }
}

variable "dispatcher_schedule" {
  description = "When the dispatcher runs (mode `cronjobs`)."
  type        = string
  default     = "*/2 * * * *"
  nullable    = false

  validation {
    condition = can(regex(local.cron_names, var.dispatcher_schedule)) || (
      length(split(" ", var.dispatcher_schedule)) == 5 && alltrue([for at, field in split(" ", var.dispatcher_schedule) : can(regex(local.cron_fields[at], field))])
    )
    error_message = "dispatcher_schedule must be five cron fields (minute hour day month weekday), such as \"*/2 * * * *\", or @hourly, @daily, @weekly, @monthly."
  }
}

variable "reaper_schedule" {
  description = "When the reaper runs (mode `cronjobs`)."
  type        = string
  default     = "*/10 * * * *"
  nullable    = false

  validation {
    condition = can(regex(local.cron_names, var.reaper_schedule)) || (
      length(split(" ", var.reaper_schedule)) == 5 && alltrue([for at, field in split(" ", var.reaper_schedule) : can(regex(local.cron_fields[at], field))])
    )
    error_message = "reaper_schedule must be five cron fields (minute hour day month weekday), such as \"*/10 * * * *\", or @hourly, @daily, @weekly, @monthly."
  }
}

variable "time_zone" {
  description = "Time zone of the schedules, such as `Europe/Berlin`. `null`: the cluster's own."
  type        = string
  default     = null

  validation {
    condition     = var.time_zone == null || can(regex("^(UTC|[A-Z][A-Za-z_]+(/[A-Za-z0-9_+-]+)+)$", var.time_zone))
    error_message = "time_zone must be a name from the time zone database, such as \"Europe/Berlin\" or \"UTC\", or null."
  }
}

# --- the pods ---

variable "log_format" {
  description = "`text`, or `json`: one object a line."
  type        = string
  default     = "text"
  nullable    = false

  validation {
    condition     = contains(["text", "json"], var.log_format)
    error_message = "log_format must be \"text\" or \"json\"."
  }
}

variable "extra_env" {
  description = "More environment variables for every pod. Not for secrets."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.extra_env), local.own_env)) == 0
    error_message = "extra_env must not hold what the module sets itself: ${join(", ", sort(setintersection(keys(var.extra_env), local.own_env)))}. There is an input for each; for a password it is dolt_password_secret, for the agent service's token agent_service_token_secret, for Apprise's URLs notify_urls_secret."
  }
  validation {
    condition     = alltrue([for name in keys(var.extra_env) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))])
    error_message = "extra_env: a variable's name is letters, digits and underscores, not a digit first."
  }
}

variable "labels" {
  description = "More labels for every object and pod."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length([for name in keys(var.labels) : name if startswith(name, "app.kubernetes.io/")]) == 0
    error_message = "labels must not hold app.kubernetes.io/...: the module sets them, and its selectors need them."
  }
}

variable "annotations" {
  description = "Annotations of the CronJobs and of the Deployment, such as `{ \"reloader.stakater.com/auto\" = \"true\" }`."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "pod_labels" {
  description = "More labels of our pods alone, such as `{ \"sidecar.istio.io/inject\" = \"false\" }`. The agent has labels of its own: `agent.pod_labels`."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length([for name in keys(var.pod_labels) : name if startswith(name, "app.kubernetes.io/")]) == 0
    error_message = "pod_labels must not hold app.kubernetes.io/...: the module sets them, and its selectors need them."
  }
}

variable "pod_annotations" {
  description = "Annotations of our pods, such as `{ \"linkerd.io/inject\" = \"disabled\" }`."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "run_as_user" {
  description = "User and group of our pods. `null`: what the cluster or the image chooses, as OpenShift wants it (not tried there)."
  type        = number
  default     = 65532

  validation {
    condition     = alltrue([for user in var.run_as_user[*] : user >= 1 && floor(user) == user])
    error_message = "run_as_user must be a whole number above 0, or null: our pods do not run as root."
  }
}

variable "node_selector" {
  description = "Labels that a node must have."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "tolerations" {
  description = "Taints that the pods tolerate."
  type = list(object({
    key                = optional(string)
    operator           = optional(string, "Equal")
    value              = optional(string)
    effect             = optional(string)
    toleration_seconds = optional(number)
  }))
  default  = []
  nullable = false

  validation {
    condition     = alltrue([for one in var.tolerations : contains(["Equal", "Exists"], one.operator)])
    error_message = "tolerations: operator must be Equal or Exists."
  }
}

variable "priority_class_name" {
  description = "Priority class of the pods."
  type        = string
  default     = null
}

variable "cpu_request" {
  description = "CPU that a pod asks for."
  type        = string
  default     = "50m"
  nullable    = false

  validation {
    condition     = can(regex("^([0-9]+m|[0-9]+(\\.[0-9]+)?)$", var.cpu_request))
    error_message = "cpu_request must be an amount of CPU, such as \"50m\"."
  }
}

variable "cpu_limit" {
  description = "CPU at which a pod is throttled. `null`: no limit, since a throttled tick only takes longer; a namespace's quota may demand one."
  type        = string
  default     = null

  validation {
    condition     = var.cpu_limit == null || can(regex("^([0-9]+m|[0-9]+(\\.[0-9]+)?)$", var.cpu_limit))
    error_message = "cpu_limit must be an amount of CPU, such as \"1\", or null."
  }
}

variable "memory_request" {
  description = "Memory that a pod asks for."
  type        = string
  default     = "128Mi"
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+[KMG]i$", var.memory_request))
    error_message = "memory_request must be an amount of memory, such as \"128Mi\"."
  }
}

variable "memory_limit" {
  description = "Memory at which a pod is killed. What is written to `/tmp` counts."
  type        = string
  default     = "256Mi"
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+[KMG]i$", var.memory_limit))
    error_message = "memory_limit must be an amount of memory, such as \"256Mi\"."
  }
}

# --- who may talk to whom ---

variable "network_policy_enabled" {
  description = "Whether to make a NetworkPolicy: out to Dolt, BeadBoard, the agent service and DNS only; in, nothing. Runner `jobs`: out to Dolt, the API server and DNS. Your network plugin must enforce it."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.network_policy_enabled || var.runner != "jobs" || contains(keys(var.network_policy_peers), "api_server")
    error_message = "network_policy_enabled with runner = \"jobs\" needs network_policy_peers = { api_server = { cidr = \"…\", port = … } }: `kubectl -n default get endpointslices` has its addresses."
  }
}

variable "network_policy_peers" {
  description = "Where the NetworkPolicy lets the pods go, laid over the default by name (`dolt`, `beadboard`, `agent_service`, `dns`; runner `jobs`: `dolt`, `dns`, and `api_server`, which has no default). A policy sees pods, not Services: `port` is the pod's own. Each has either `namespace`, and `pod_labels` if you like, or `cidr`."
  type = map(object({
    namespace  = optional(string)
    pod_labels = optional(map(string), {})
    cidr       = optional(string)
    port       = number
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for peer in var.network_policy_peers : (peer.namespace == null) != (peer.cidr == null)])
    error_message = "network_policy_peers: each peer needs either a namespace or a cidr."
  }
  validation {
    condition     = alltrue([for peer in var.network_policy_peers : peer.cidr == null || length(peer.pod_labels) == 0])
    error_message = "network_policy_peers: pod_labels go with a namespace, not with a cidr."
  }
  validation {
    condition     = alltrue([for peer in var.network_policy_peers : peer.cidr == null || can(cidrhost(peer.cidr, 0))])
    error_message = "network_policy_peers: a cidr is an address and a prefix, such as \"10.0.0.5/32\"."
  }
  validation {
    condition     = alltrue([for peer in var.network_policy_peers : peer.port >= 1 && peer.port <= 65535 && floor(peer.port) == peer.port])
    error_message = "network_policy_peers: a port is a whole number from 1 to 65535."
  }
}

variable "metrics_namespace" {
  description = "The namespace that the NetworkPolicy lets in to the watcher's metrics, where your Prometheus runs. `null`: nobody. The kubelet's probes come from the node, which most network plugins always let in."
  type        = string
  default     = null

  validation {
    condition     = var.metrics_namespace == null || can(regex(local.dns_label, var.metrics_namespace))
    error_message = "metrics_namespace must be the name of a namespace, or null."
  }
}

# --- who is alerted ---

variable "monitoring_labels" {
  description = "Labels by which your Prometheus Operator finds monitors and rules, such as `{ release = \"kube-prometheus-stack\" }`. They are on the objects of the output `monitoring` only."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length([for name in keys(var.monitoring_labels) : name if startswith(name, "app.kubernetes.io/")]) == 0
    error_message = "monitoring_labels must not hold app.kubernetes.io/...: the module sets them."
  }
}

variable "runbook_url" {
  description = "Where your people find `docs/runbook.md`: each alert links to a section of it."
  type        = string
  default     = "docs/runbook.md"
  nullable    = false

  validation {
    condition     = can(regex("^[^#[:space:]\"\\\\]+$", var.runbook_url))
    error_message = "runbook_url must be an address without a space, a quote or a #: the alerts add the section."
  }
}
