"""What a student is trained on: asking teachers, tracking, checking, sampling and mixing. Never imports torch."""
