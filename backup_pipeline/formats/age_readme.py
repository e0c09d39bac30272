"""The README.txt that an encrypted bundle has for those without the key: how to decrypt it with `age` alone."""

from __future__ import annotations

from collections.abc import Sequence

from backup_pipeline.formats.readme import FENCE

_TEXT = """\
THIS BACKUP IS ENCRYPTED
  Every file whose name ends in .age is encrypted, one by one, in the age format (https://age-encryption.org/v1).
  It can be read with the private key of any one of these recipients, and without none:
{recipients}

DECRYPTING IT WITHOUT THE PROGRAM THAT MADE IT
  You need age (Debian, Ubuntu: apt install age; macOS: brew install age), gunzip and a shell. Unpack the ZIP into a
  folder of its own, open a shell in that folder, and say where the file with the private key is:
    KEY=/path/to/key.txt

  One file alone, for example:
    age -d -i "$KEY" -o part-00000.parquet parquet/<table>/part-00000.parquet.age

  Everything, into the new folder `decrypted`. Copy what stands between the lines.
{fence}
find . -name '*.age' | while IFS= read -r file; do
  plain="decrypted/${file%.age}"
  mkdir -p "$(dirname "$plain")"
  age -d -i "$KEY" -o "$plain" "$file" || exit
done
find decrypted -name '*.csv.gz' -exec gunzip {} +
{fence}

  Then go on in that folder: decrypted/README.txt says what the backup holds, and how to check and to recover it.
  Whatever you decrypt is as confidential as the database: remove it when you are done.
"""


def age_readme(recipients: Sequence[str]) -> str:
    """The text, naming the recipients; it tells nothing else of the backup."""
    listed = "\n".join(f"    {name}" for name in recipients)
    return _TEXT.replace("{recipients}", listed).replace("{fence}", FENCE)
