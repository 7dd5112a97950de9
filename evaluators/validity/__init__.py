"""Could such a row exist?"""
