"""Generation as control: several keywords, guarantees, strengths and lengths, in Storyland and with SmolLM2."""
