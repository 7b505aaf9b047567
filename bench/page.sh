# Sourced by the scripts that write performance pages (bench/h200, bench/cpu), which set before it:
#   page (the default file), target (the program's), groups (all of them), and may set budget
#   (seconds; then --budget changes it); and leave "$@" to it.
# Gives: program, out, groups, rows, has.
cd "$(dirname "$0")/.."
bin_dir="" out=$page
while (($#)); do
  case $1 in
    --bin-dir) bin_dir=$2 ;;
    --out) out=$2 ;;
    --groups) groups=$2 ;;
    --budget) [[ -v budget ]] || { echo "$0 has no --budget" >&2; exit 2; }; budget=$2 ;;
    *) echo "usage: $0 [--bin-dir DIR] [--out FILE] [--groups \"GROUP...\"]" >&2; exit 2 ;;
  esac
  shift 2
done
if [[ -z $bin_dir ]]; then
  bin_dir=build/bench/bench
  scripts/build bench --target "$target"
fi
program=$bin_dir/$target

# rows COLUMNS GROUP ARGUMENT...: the rows of a group, whose end takes no other group along.
rows() {
  local columns=$1 why="" errors
  shift
  errors=$(mktemp)
  if ! "$program" "$@" 2>"$errors"; then
    why=$(tail -1 "$errors")
    printf '| %s | failed: %s |' "$1" "${why:-no word why}"
    printf ' - |%.0s' $(seq 3 "$columns")
    echo
  fi
  rm -f "$errors"
}
has() { [[ " $groups " == *" $1 "* ]]; }
