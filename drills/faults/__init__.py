"""The fault drill: what breaks around a receiver, one after the other, while reports keep coming."""
