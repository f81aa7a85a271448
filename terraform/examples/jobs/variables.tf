variable "image" {
  description = "The image of beads-dispatch, that your nodes can pull or already have."
  type        = string
  default     = "beads-dispatch:0.1.0"
}

variable "project_id" {
  description = "The `_project_id` of your beads database."
  type        = string
  default     = "00000000-0000-4000-8000-000000000000"
}

variable "dolt_host" {
  description = "Where the beads database is."
  type        = string
  default     = "dolt.beads-server.svc.cluster.local"
}

variable "namespace" {
  description = "A namespace of its own, made here, so that trying this touches nothing else. The agents' is beside it, with `-agents` at its end."
  type        = string
  default     = "beads-example"
}

variable "beads_dispatcher_enabled" {
  description = "The kill switch."
  type        = bool
  default     = true
}

variable "work" {
  description = "What the agent does for its bead, as a shell command."
  type        = string
  default     = "bd show \"$BEAD_ID\""
}
