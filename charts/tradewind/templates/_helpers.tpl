{{/* Names, labels, images and security contexts that several templates share. */}}

{{- define "tradewind.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "tradewind.operator" -}}
{{- printf "%s-operator" (include "tradewind.fullname" .) }}
{{- end }}

{{/* How many operators share the namespaces. */}}
{{- define "tradewind.shards" -}}
{{- $shards := int (default 1 .Values.operator.shards) }}{{/* none: helm upgrade --reuse-values */}}
{{- $named := include "tradewind.namespaces" . | fromJsonArray }}
{{- if and $named (gt $shards (len $named)) }}
{{- fail (printf "operator.shards is %d, more than the namespaces that are watched (%d), and each shard needs one of its own: name more in watchNamespaces, or lower operator.shards" $shards (len $named)) }}
{{- end }}
{{- $shards }}
{{- end }}

{{/* Name of a shard's Deployment and Service: (list . 1). The first has the name and the labels of a single operator, which are
immutable in a selector. */}}
{{- define "tradewind.shard" -}}
{{- include "tradewind.operator" (index . 0) }}
{{- with index . 1 }}-{{ . }}{{ end }}
{{- end }}

{{/* By which a shard's pods are told from those of the others: 1. */}}
{{- define "tradewind.shardLabels" -}}
{{- if . -}}
app.kubernetes.io/component: operator-shard
tradewind.dev/shard: {{ . | quote }}
{{- else -}}
app.kubernetes.io/component: operator
{{- end }}
{{- end }}

{{/* Cluster-wide names carry the namespace, so that two installations do not meet. */}}
{{- define "tradewind.clusterwide" -}}
{{- printf "%s-%s" .Release.Namespace (include "tradewind.fullname" .) }}
{{- end }}

{{/* Namespaces that are watched by name, as JSON; [] with clusterWide. */}}
{{- define "tradewind.namespaces" -}}
{{- if and .Values.clusterWide .Values.watchNamespaces }}
{{- fail "clusterWide and watchNamespaces exclude each other: leave one out" }}
{{- end }}
{{- if .Values.clusterWide }}[]{{ else }}{{ .Values.watchNamespaces | default (list .Release.Namespace) | toJson }}{{ end }}
{{- end }}

{{- define "tradewind.selector" -}}
app.kubernetes.io/name: tradewind
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tradewind.labels" -}}
{{ include "tradewind.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Full reference of an image: (list . "gateway"). */}}
{{- define "tradewind.image" -}}
{{- $root := index . 0 }}
{{- $image := index $root.Values.image (index . 1) }}
{{- $name := $image.repository }}
{{- if $root.Values.image.registry }}{{ $name = printf "%s/%s" $root.Values.image.registry $name }}{{ end }}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else if $root.Values.image.requireDigests }}
{{- fail (printf "image.%s.digest is empty, and image.requireDigests asks for one: set it to the sha256:... of the image" (index . 1)) }}
{{- else }}
{{- printf "%s:%s" $name ($image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* Full reference of vLLM's image, which others make; empty: none. */}}
{{- define "tradewind.vllmImage" -}}
{{- $reference := .Values.image.vllm.reference }}
{{- if and $reference .Values.image.requireDigests (not (contains "@sha256:" $reference)) }}
{{- fail "image.vllm.reference has no digest, and image.requireDigests asks for one: append @sha256:... of the image" }}
{{- end }}
{{- $reference }}
{{- end }}

{{/* Names of the Secrets by which images are pulled, the common ones first, each once: (list . "operator" "postgres"). */}}
{{- define "tradewind.pullSecretNames" -}}
{{- $root := index . 0 }}
{{- $secrets := $root.Values.image.pullSecrets | default list }}
{{- range rest . }}
{{- $secrets = concat $secrets ((index $root.Values.image .).pullSecrets | default list) }}
{{- end }}
{{- $names := list }}
{{- range $secrets }}{{ $names = append $names .name }}{{ end }}
{{- join "," ($names | uniq) }}
{{- end }}

{{/* The same as a field of a pod; nothing where there are none. */}}
{{- define "tradewind.pullSecrets" -}}
{{- with include "tradewind.pullSecretNames" . }}
imagePullSecrets:
  {{- range splitList "," . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What authors may do, for the operator; the stand-in that the chart brings is a host that gateways may ask. */}}
{{- define "tradewind.policy" -}}
{{- $egress := deepCopy .Values.egress }}
{{- if .Values.standin.enabled }}
{{- $standin := printf "http://%s-standin.%s.svc" (include "tradewind.fullname" .) .Release.Namespace }}
{{- $_ := set $egress "allowedInternalHosts" (append ($egress.allowedInternalHosts | default list) $standin) }}
{{- end }}
{{- merge (dict "egress" $egress) .Values.policy | toJson }}
{{- end }}

{{/* Security of a pod that runs as this user: a user of its own for each program, as in core/manifests/common.py. */}}
{{- define "tradewind.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tradewind.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "tradewind.postgres" -}}
{{- printf "%s-postgres" (include "tradewind.fullname" .) }}
{{- end }}

{{/* Of the embedded database: the owner's connection string, and the passwords of the namespaces' roles. */}}
{{- define "tradewind.ownerSecret" -}}
{{- printf "%s-database-owner" (include "tradewind.fullname" .) }}
{{- end }}

{{- define "tradewind.tenantsSecret" -}}
{{- printf "%s-database-tenants" (include "tradewind.fullname" .) }}
{{- end }}

{{/* Secret with the key that signs what gateways obey. */}}
{{- define "tradewind.routingSecret" -}}
{{- default (printf "%s-routing-key" (include "tradewind.fullname" .)) .Values.routing.existingSecret.name }}
{{- end }}

{{/* Volume with the CA of the database, its mount, and the settings by which libpq finds it; nothing where none is named. */}}
{{- define "tradewind.databaseCA" -}}
{{- $tls := .Values.database.tls }}
{{- if and $tls.caSecret.name $tls.caConfigMap.name }}
{{- fail "database.tls.caSecret and database.tls.caConfigMap exclude each other: leave one out" }}
{{- end }}
{{- if and (or $tls.caSecret.name $tls.caConfigMap.name) .Values.database.embedded.enabled }}
{{- fail "database.tls is for a server of your own: the embedded database has no certificate; leave one out" }}
{{- end }}
{{- if $tls.caSecret.name }}
key: {{ $tls.caSecret.key }}
volume: {name: database-ca, secret: {secretName: {{ $tls.caSecret.name }}, defaultMode: 0440}}
{{- else if $tls.caConfigMap.name }}
key: {{ $tls.caConfigMap.key }}
volume: {name: database-ca, configMap: {name: {{ $tls.caConfigMap.name }}}}
{{- end }}
{{- end }}

{{/* Secret and key of the connection string, after checking that exactly one database is chosen. */}}
{{- define "tradewind.dsnSecret" -}}
{{- $own := .Values.database.embedded.enabled }}
{{- $theirs := .Values.database.existingSecret.name }}
{{- if and $own $theirs }}
{{- fail "database.existingSecret.name and database.embedded.enabled exclude each other: leave one out" }}
{{- end }}
{{- if not (or $own $theirs) }}
{{- fail "no database: set database.existingSecret.name to a Secret with a PostgreSQL connection string, or for a trial database.embedded.enabled=true" }}
{{- end }}
{{- if $own }}
name: {{ include "tradewind.ownerSecret" . }}
key: dsn
{{- else }}
name: {{ $theirs }}
key: {{ .Values.database.existingSecret.key }}
{{- end }}
{{- end }}
