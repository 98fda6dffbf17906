"""One call's packets from everywhere they are: asked for, checked, merged; then a file, a ladder or a sound."""
