"""Result files of many models -> tables in several formats."""
