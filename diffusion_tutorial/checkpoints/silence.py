"""No chatter: what diffusers and transformers print while they load."""

from __future__ import annotations


class quiet:
    """No progress bars and no loading chatter of diffusers and transformers inside the block."""

    def __enter__(self):
        import diffusers.utils.logging as ours
        import transformers.utils.logging as theirs

        self.saved = [(m, m.get_verbosity(), m.is_progress_bar_enabled()) for m in (ours, theirs)]
        for m, _, _ in self.saved:
            m.set_verbosity_error()
            m.disable_progress_bar()

    def __exit__(self, *exc):
        for m, verbosity, bar in self.saved:
            m.set_verbosity(verbosity)
            if bar:
                m.enable_progress_bar()
