# Start script of a SageMaker notebook instance or a Studio JupyterLab space: installs the package from ArtifactsBucket into a virtual
# environment. It works in the background, because AWS stops a start script after five minutes. dicom-workflow-STATUS.txt, which
# the file browser shows, reports progress. A finished installation is reused; a broken one is replaced.
#
# ARTIFACTS_BUCKET  WHEELS_PREFIX  NOTEBOOKS_KEY   location of the wheels with their requirements.txt, and of the zip of notebooks
# PACKAGE_INDEX     none: install from the wheels only; pypi: download missing packages
#                   Without WHEELS_PREFIX, a Studio space reads these three from the tags of its domain, which can be updated.
# DEPLOYMENT        REGION                         deployment that the settings are read from
# HOME_FOLDER       NOTEBOOK_USER                  the persistent home folder and its owner
# INSTANCE_NAME     IDLE_MINUTES                   the instance to stop after so many idle minutes; never if 0 or without a name
set -euo pipefail

: "${ARTIFACTS_BUCKET:?}" "${DEPLOYMENT:?}" "${REGION:?}" "${HOME_FOLDER:?}"
: "${WHEELS_PREFIX:=}" "${NOTEBOOKS_KEY:=}" "${METADATA:=/opt/ml/metadata/resource-metadata.json}"
STATE="$HOME_FOLDER/.dicom-workflow"
STATUS="$HOME_FOLDER/dicom-workflow-STATUS.txt"
BOOKS=""
VENV=""
: "${NOTEBOOK_USER:=}" "${PACKAGE_INDEX:=none}" "${INSTANCE_NAME:=}" "${IDLE_MINUTES:=0}" "${IDLE_POLL_SECONDS:=300}"
: "${JUPYTER_URL:=https://localhost:8443}"
: "${PYTHONS:=$STATE/python/bin/python3 /opt/conda/bin/python /home/ec2-user/anaconda3/envs/*/bin/python /usr/bin/python3.1[1-9]}"

say() {
  printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*"
}

mark() {
  say "$*" >"$STATUS.new"
  mv -f "$STATUS.new" "$STATUS"
}

# List the interpreters that are new enough, one per line. PYTHONS holds glob patterns, which are split and expanded on purpose.
pythons() {
  local path
  # shellcheck disable=SC2086
  for path in $PYTHONS; do
    if [ -x "$path" ] && "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$path"
    fi
  done
}

tag() {
  aws sagemaker list-tags --region "$REGION" --resource-arn "$1" --query "Tags[?Key=='dicom-workflow:$2'].Value | [0]" --output text
}

locate() {
  local domain
  if [ -z "$WHEELS_PREFIX" ]; then
    # An app's ARN is arn:PARTITION:sagemaker:REGION:ACCOUNT:app/DOMAIN/…
    domain="$(sed -n 's|.*"ResourceArn": *"\(arn:[^"]*\):app/\([^/"]*\)/.*|\1:domain/\2|p' "$METADATA")"
    WHEELS_PREFIX="$(tag "$domain" wheels)"
    NOTEBOOKS_KEY="$(tag "$domain" notebooks)"
    PACKAGE_INDEX="$(tag "$domain" package-index)"
  fi
  WHEELS_PREFIX="${WHEELS_PREFIX%/}"
  if [[ "$WHEELS_PREFIX" != wheels/* || "$NOTEBOOKS_KEY" != *.zip ]]; then
    say "expected wheels/… and the key of a zip, got '$WHEELS_PREFIX' and '$NOTEBOOKS_KEY'"
    return 1
  fi
  BOOKS="$HOME_FOLDER/dicom-workflow/$(basename "$NOTEBOOKS_KEY" .zip)"
  VENV="$STATE/venv-$(basename "$WHEELS_PREFIX")"
}

fetch_wheels() {
  mkdir -p "$STATE/wheels"
  aws s3 sync --delete --no-progress "s3://$ARTIFACTS_BUCKET/$WHEELS_PREFIX/" "$STATE/wheels/"
  if [ -f "$STATE/wheels/python.tar.gz" ]; then
    rm -rf "$STATE/python"
    tar -xzf "$STATE/wheels/python.tar.gz" -C "$STATE"
  fi
}

# The package itself is installed from a file, never by name: somebody else might own the name on a package index.
install_with() {
  local options=(--no-input --disable-pip-version-check --find-links "$STATE/wheels")
  if [ "$PACKAGE_INDEX" = none ]; then
    options+=(--no-index)
  fi
  "$1" -m venv --clear "$VENV" || return 1
  sed '/^-e/d' "$STATE/wheels/requirements.txt" >"$STATE/requirements.txt" || return 1
  "$VENV/bin/python" -m pip install "${options[@]}" --requirement "$STATE/requirements.txt" || return 1
  "$VENV/bin/python" -m pip install "${options[@]}" --no-deps "$STATE"/wheels/dicom_workflow-*.whl
}

install_package() {
  local python
  while read -r python; do
    say "trying $python"
    if install_with "$python"; then
      return 0
    fi
  done < <(pythons)
  say "no interpreter of Python 3.11 or newer that the wheels fit. Put one into $WHEELS_PREFIX/ as python.tar.gz (python/bin/python3)."
  return 1
}

is_installed() {
  [ -f "$VENV/done" ] && "$VENV/bin/python" -c 'import dicom_workflow, ipykernel' 2>/dev/null
}

# Every version has its own folder, so changes by users are never overwritten.
fetch_notebooks() {
  if [ ! -d "$BOOKS" ]; then
    aws s3 cp --no-progress "s3://$ARTIFACTS_BUCKET/$NOTEBOOKS_KEY" "$STATE/notebooks.zip"
    rm -rf "$BOOKS.new"
    mkdir -p "$BOOKS.new"
    "$VENV/bin/python" -m zipfile -e "$STATE/notebooks.zip" "$BOOKS.new"
    printf 'DICOM_WORKFLOW_DEPLOYMENT=%s\nAWS_REGION=%s\nDICOM_WORKFLOW_WORKSPACE=%s\n' \
      "$DEPLOYMENT" "$REGION" "$HOME_FOLDER/workspace" >"$BOOKS.new/.env"
    mv "$BOOKS.new" "$BOOKS"
  fi
  # The package expects the training script beside itself, as in a checkout.
  ln -sfn "$BOOKS/source" "$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/source"
}

# The notebooks require the kernel name python3. Its specification is in the home folder, which not every restart preserves.
register_kernel() {
  "$VENV/bin/python" -m ipykernel install --user --name python3 --display-name dicom-workflow \
    --env DICOM_WORKFLOW_DEPLOYMENT "$DEPLOYMENT" --env AWS_REGION "$REGION" \
    --env DICOM_WORKFLOW_WORKSPACE "$HOME_FOLDER/workspace"
}

install_steps() {
  local other
  locate
  if is_installed; then
    say "installed already"
  else
    mark "installing $WHEELS_PREFIX; the log is .dicom-workflow/install.log"
    fetch_wheels
    install_package
    touch "$VENV/done"
  fi
  fetch_notebooks
  register_kernel
  printf '%s' "${BOOKS#"$HOME_FOLDER"/}" >"$STATE/books"
  for other in "$STATE"/venv-*; do
    if [ "$other" != "$VENV" ]; then
      rm -rf "$other"
    fi
  done
}

# The steps run in a separate shell: in a condition, bash would continue after a failed step.
install() {
  exec 9>"$STATE/lock"
  if ! flock --nonblock 9; then
    return 0 # another start is running
  fi
  if bash -c 'set -euo pipefail; install_steps' >"$STATE/install.log" 2>&1; then
    mark "ready: open $(cat "$STATE/books")/notebooks"
  else
    mark "failed: the reason is at the end of .dicom-workflow/install.log; the next start tries again"
    return 1
  fi
}

# Print the time of the last activity in seconds since 1970; the current time while a kernel is running.
last_activity() {
  local answers
  # The instance has a self-signed certificate; the request never leaves the instance.
  answers="$(for what in kernels terminals; do
    curl --silent --fail --insecure --max-time 20 "$JUPYTER_URL/api/$what" || exit 1
    echo
  done)" || return 1
  python3 -c '
import datetime, json, sys, time
latest = 0.0
for line in filter(str.strip, sys.stdin):
    for item in json.loads(line):
        if item.get("execution_state") in ("busy", "starting", "restarting"):
            latest = time.time()
        said = item["last_activity"].replace("Z", "+00:00")
        latest = max(latest, datetime.datetime.fromisoformat(said).timestamp())
print(int(latest))' <<<"$answers"
}

# Return 0 when the instance is being stopped. If Jupyter does not respond, a user may be working, so the instance keeps running.
stop_if_idle() {
  local since="$1" last
  if ! last="$(last_activity)"; then
    say "Jupyter could not be asked; the instance goes on"
    return 1
  fi
  if [ "$last" -lt "$since" ]; then
    last="$since"
  fi
  if [ $(($(date +%s) - last)) -lt $((IDLE_MINUTES * 60)) ]; then
    return 1
  fi
  say "nobody worked for $IDLE_MINUTES minutes; stopping $INSTANCE_NAME"
  aws sagemaker stop-notebook-instance --region "$REGION" --notebook-instance-name "$INSTANCE_NAME"
}

watch_idle() {
  local since
  since="$(date +%s)"
  exec 8>"$STATE/idle.lock"
  if ! flock --nonblock 8; then
    return 0
  fi
  while sleep "$IDLE_POLL_SECONDS"; do
    if stop_if_idle "$since"; then
      return 0
    fi
  done >>"$STATE/idle.log" 2>&1
}

as_user() {
  if [ "$(id -u)" = 0 ] && [ -n "$NOTEBOOK_USER" ]; then
    runuser --user "$NOTEBOOK_USER" -- env HOME="$(getent passwd "$NOTEBOOK_USER" | cut -d: -f6)" bash -c "$1"
  else
    bash -c "$1"
  fi
}

# An instance may have no Python that is new enough. dnf downloads from an AWS bucket, which the network stack allows.
background() {
  if [ -z "$(pythons)" ] && [ "$(id -u)" = 0 ] && [ ! -x "$STATE/python/bin/python3" ] && command -v dnf >/dev/null; then
    dnf install --assumeyes --quiet python3.11 || say "dnf has no python3.11"
  fi
  if [ "$IDLE_MINUTES" != 0 ] && [ -n "$INSTANCE_NAME" ]; then
    as_user watch_idle &
  fi
  as_user install
}

start() {
  mkdir -p "$STATE" "$HOME_FOLDER/workspace" "$HOME_FOLDER/dicom-workflow"
  if [ "$(id -u)" = 0 ] && [ -n "$NOTEBOOK_USER" ]; then
    chown "$NOTEBOOK_USER:" "$STATE" "$HOME_FOLDER/workspace" "$HOME_FOLDER/dicom-workflow"
  fi
  setsid --fork bash -c background </dev/null >"$STATE/background.log" 2>&1
}

export ARTIFACTS_BUCKET WHEELS_PREFIX NOTEBOOKS_KEY DEPLOYMENT REGION HOME_FOLDER NOTEBOOK_USER PACKAGE_INDEX INSTANCE_NAME
export IDLE_MINUTES IDLE_POLL_SECONDS JUPYTER_URL PYTHONS STATE STATUS BOOKS VENV
while read -r _ _ name; do
  export -f "${name?}"
done < <(declare -F)
"${1:-start}" "${@:2}"
