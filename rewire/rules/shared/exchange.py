"""The exchange of RigL and its kin, a verb of ``rewire.select``."""

from ...select.exchange import exchange as exchange
