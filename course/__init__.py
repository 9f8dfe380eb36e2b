"""The course's machinery: its table, its notebooks, their execution and the page that shows them. No models here."""
