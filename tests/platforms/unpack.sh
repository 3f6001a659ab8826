# Puts packages of Debian into a folder without installing them, also those for another processor. To be sourced; `cache`
# names the folder in which what was downloaded is kept.

# apt_in ARCHITECTURE COMMAND...: one of apt's commands, with lists of packages of its own.
apt_in() {
  local architecture=$1 command=$2
  shift 2
  local apt="$cache/apt-$architecture"
  local options=(-q=2
    -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture"
    -o "Dir::State=$apt/state" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
    -o "APT::Sandbox::User=$(id -un)")
  if ! [ -e "$apt/is-updated" ]; then
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    apt-get "${options[@]}" update >&2
    touch "$apt/is-updated"
  fi
  "$command" "${options[@]}" "$@"
}

# unpack FOLDER ARCHITECTURE PACKAGE...
unpack() {
  local folder=$1 architecture=$2
  shift 2
  local debs deb
  debs=$(mktemp -d "$cache/debs.XXXXXX")
  (cd "$debs" && apt_in "$architecture" apt-get download "$@" >&2)
  mkdir -p "$folder"
  for deb in "$debs"/*.deb; do dpkg -x "$deb" "$folder"; done
  rm -r "$debs"
}
