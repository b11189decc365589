{{/* The name of everything that the chart makes. */}}
{{- define "keyside.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "keyside.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "keyside.name" .) -}}
{{- end -}}

{{- define "keyside.selector" -}}
app.kubernetes.io/name: keyside
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "keyside.labels" -}}
{{ include "keyside.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The whole proxy.toml: the values' text, and the tables that the chart itself decides. */}}
{{- define "keyside.config" -}}
{{- range $table := list "metrics" "spool" "state" }}
{{- if regexMatch (printf "(?m)^\\s*\\[%s\\]" $table) $.Values.config }}
{{- fail (printf "config has [%s], which the chart writes: set it with the values of the chart" $table) }}
{{- end }}
{{- end }}
{{- if regexMatch "(?m)^\\s*\\[inbound\\]" .Values.config }}
{{- fail "config has [inbound], which the chart writes: webhooks arrive on port 8081" }}
{{- end -}}
{{ .Values.config | trimSuffix "\n" }}

# Written by the chart.
[inbound]
listen = ["[::]:8081"]

[metrics]
listen = ["[::]:9901"]
{{- if .Values.spool.enabled }}

[spool]
dir = "/var/lib/keyside/spool"
max_size = {{ .Values.spool.maxSize | quote }}
{{- end }}
{{- if .Values.state.enabled }}

[state]
dir = "/var/lib/keyside/state"
key = "file:/run/secrets/keyside-state/key"
{{- end }}
{{ end -}}
