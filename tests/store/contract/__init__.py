"""The laws of a store. They run on every database: a module binds them with a fixture `house` and a star import.

`backing_up` is not among them: a database that has backups of its own does without ours.
"""

# ruff: noqa: F403 - every law there is one here
from .acts import *
from .claiming import *
from .counting import *
from .erasing import *
from .fates import *
from .finding import *
from .hold import *
from .interruptions import *
from .moving import *
from .notices import *
from .ordered import *
from .pruning import *
from .quarantine import *
from .readiness import *
from .recording import *
from .settling import *
