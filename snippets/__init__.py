"""Modules for real-time systems with Litestar, made to be copied.

Each stands alone or names the one it needs; imports are relative, so the files
work unchanged in any package.
"""
