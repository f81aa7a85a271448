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

variable "namespace" {
  description = "A namespace of its own, made here, so that trying this touches nothing else."
  type        = string
  default     = "beads-example"
}

variable "beads_dispatcher_enabled" {
  description = "The kill switch."
  type        = bool
  default     = true
}
