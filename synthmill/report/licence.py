"""A recipe's licence in the words of those who read it: the Hugging Face hub's own names, and Croissant's URLs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

_SPDX = "https://spdx.org/licenses"
_URL = re.compile(r"https?://\S+")
# https://huggingface.co/docs/hub/repositories-licenses: those for data, and the common ones for code. Any other is `other` there.
_ON_THE_HUB = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsl-1.0 c-uda cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0
    cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 epl-2.0 etalab-2.0 eupl-1.2 gpl-2.0 gpl-3.0 isc
    lgpl-2.1 lgpl-3.0 mit mpl-2.0 odbl odc-by osl-3.0 pddl unlicense wtfpl zlib
"""
_HUB_NAMES = {"odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl"}


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence as the recipe has it, "" for none: an SPDX identifier or expression, an URL, or words of one's own."""

    words: str

    @property
    def spdx(self) -> str | None:
        """The canonical SPDX identifier or expression, None where the words are none."""
        try:
            return canonicalize_license_expression(self.words)
        except InvalidLicenseExpression:
            return None

    @property
    def url(self) -> str | None:
        """Where its text is: the words themselves, or SPDX's page of one identifier."""
        if _URL.fullmatch(self.words):
            return self.words
        spdx = self.spdx
        is_listed = spdx is not None and " " not in spdx and not spdx.startswith("LicenseRef-")
        return f"{_SPDX}/{spdx}.html" if is_listed else None

    @property
    def front_matter(self) -> dict[str, str]:
        """The keys of a card: the hub knows a list of names, and asks for `other` with a name and a link beside it else."""
        if not self.words:
            return {"license": "unknown"}
        plain = re.sub(r"-(only|or-later)$", "", (self.spdx or "").lower())
        name = _HUB_NAMES.get(plain, plain)
        if name in _ON_THE_HUB.split():
            return {"license": name}
        slug = re.sub(r"[^a-z0-9.]+", "-", self.words.lower()).strip("-") or "own"
        link = {"license_link": self.url} if self.url else {}
        return {"license": "other", "license_name": slug, **link}
