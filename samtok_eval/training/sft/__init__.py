"""Supervised fine-tuning of a model on conversations with mask words."""
