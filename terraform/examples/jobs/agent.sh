# An agent: it fetches the code, works, and closes its bead. It finds the bead in BEAD_ID, BEAD_TITLE, BEAD_DESCRIPTION and so on.
# WORK is what it does. For Claude Code:
#   claude -p "Do bead $BEAD_ID (bd show $BEAD_ID), then close it (bd close $BEAD_ID)" --permission-mode bypassPermissions
set -eu
export BEADS_DIR="$HOME/.beads"
mkdir -p -m 700 "$BEADS_DIR"
cp /etc/beads-metadata/metadata.json "$BEADS_DIR"
if [ -n "${REPOSITORY:-}" ]; then
  git clone -q --depth 1 "$REPOSITORY" "$HOME/repository"
  cd "$HOME/repository"
fi
sh -c "$WORK"
# bd 1.0 refuses a write that meets another one in the same instant.
for pause in 1 2 4 8 0; do
  bd close "$BEAD_ID" && exit
  sleep $pause
done
exit 1
