{{/* What is fixed: the schema leaves no value for it, and the tests compare it with the Dockerfile. */}}
{{- define "quiver.httpPort" -}}6333{{- end -}}
{{- define "quiver.grpcPort" -}}6334{{- end -}}
{{- define "quiver.peerPort" -}}6335{{- end -}}
{{/* Seconds for handing over leadership before a stop. */}}
{{- define "quiver.handoverTimeout" -}}30{{- end -}}
{{- define "quiver.binary" -}}/usr/local/bin/quiver{{- end -}}
{{- define "quiver.dataFolder" -}}/var/lib/quiver{{- end -}}
{{- define "quiver.snapshotFolder" -}}/var/lib/quiver-snapshots{{- end -}}

{{- define "quiver.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{/*
52 characters: the StatefulSet's name, a dash and a hash of ten are the label controller-revision-hash, of at most 63.
Pods' and Services' names are parts of host names: no dots, which a release's name may have, and a letter first.
*/}}
{{- define "quiver.fullname" -}}
{{- $name := include "quiver.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- $name = .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- $name = .Release.Name -}}
{{- else -}}
{{- $name = printf "%s-%s" .Release.Name $name -}}
{{- end -}}
{{- $name = $name | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
{{- fail (printf "%s cannot be a Service's name, which begins with a letter; set fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "quiver.headless" -}}{{ include "quiver.fullname" . }}-headless{{- end -}}

{{/* Never changed by an upgrade: selectors and volume claims cannot be. */}}
{{- define "quiver.selectorLabels" -}}
app.kubernetes.io/name: {{ include "quiver.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "quiver.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "quiver.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "quiver.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "quiver.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the keys; empty without any. */}}
{{- define "quiver.secret" -}}
{{- $auth := .Values.auth -}}
{{- if not $auth.enabled -}}
{{- if or $auth.existingSecret $auth.apiKey $auth.altApiKey $auth.readOnlyApiKey -}}
{{- fail "auth has keys, but auth.enabled is false: nobody would be asked for them" -}}
{{- end -}}
{{- else if $auth.existingSecret -}}
{{- if or $auth.apiKey $auth.altApiKey $auth.readOnlyApiKey -}}
{{- fail "auth.existingSecret holds all keys: none can be given beside it" -}}
{{- end -}}
{{- $auth.existingSecret -}}
{{- else if $auth.apiKey -}}
{{- include "quiver.fullname" . -}}
{{- else -}}
{{- fail "set auth.apiKey or auth.existingSecret; or auth.enabled=false, and whoever reaches the ports can do everything" -}}
{{- end -}}
{{- end -}}

{{/* How a pod is called by the others. The cluster's domain is left to the pod's search list. */}}
{{- define "quiver.peerUri" -}}
{{- printf "http://%s.%s.%s.svc:%s" .pod (include "quiver.headless" .root) .root.Release.Namespace (include "quiver.peerPort" .root) -}}
{{- end -}}

{{/*
The first three pods found the cluster, whatever its size: from three pods on, scaling leaves the pod template as it is,
and no pod restarts.
*/}}
{{- define "quiver.bootstrap" -}}
{{- $uris := list -}}
{{- range until (int (min 3 .Values.replicaCount)) -}}
{{- $pod := printf "%s-%d" (include "quiver.fullname" $) . -}}
{{- $uris = append $uris (include "quiver.peerUri" (dict "pod" $pod "root" $)) -}}
{{- end -}}
{{- join "," $uris -}}
{{- end -}}

{{/* The settings file. Folders below the volume's root: a new ext4 has lost+found there. */}}
{{- define "quiver.config" -}}
{{- $service := dict
    "host" .Values.listenAddress
    "http_port" (include "quiver.httpPort" . | int)
    "grpc_port" (include "quiver.grpcPort" . | int) -}}
{{- $snapshots := .Values.snapshotPersistence.enabled | ternary "quiver.snapshotFolder" "quiver.dataFolder" -}}
{{- $storage := dict
    "storage_path" (printf "%s/storage" (include "quiver.dataFolder" .))
    "snapshots_path" (printf "%s/snapshots" (include $snapshots .)) -}}
{{- mergeOverwrite (deepCopy .Values.config) (dict "service" $service "storage" $storage) | toYaml -}}
{{- end -}}

{{/* The hand-over, the drain, and 30 seconds for writing out. */}}
{{- define "quiver.gracePeriod" -}}
{{- $drain := dig "service" "drain_timeout_s" 30 .Values.config | int -}}
{{- $needed := add (include "quiver.handoverTimeout" . | int) $drain 30 -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $given -}}
{{- $needed -}}
{{- else if lt (int $given) (int $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds must be %d or more with a drain of %d seconds" $needed $drain) -}}
{{- else -}}
{{- int $given -}}
{{- end -}}
{{- end -}}

{{- define "quiver.claim" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: {{ .name }}
    labels:
      {{- include "quiver.selectorLabels" .root | nindent 6 }}
    {{- with .volume.annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    accessModes:
      - {{ .volume.accessMode }}
    {{- if not (kindIs "invalid" .volume.storageClass) }}
    storageClassName: {{ .volume.storageClass | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ .volume.size }}
{{- end -}}
