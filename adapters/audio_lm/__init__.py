"""Audio-LLMs: from a prompt to a reply, and from a reply to a label."""

from adapters.audio_lm.replies.parsing import Reply, parse_reply

__all__ = ["Reply", "parse_reply"]
