"""The OpenAI door: the same decisions, asked and answered in the shape of a chat completion.

Belongs here: reading a completion's body as a decision's request (question.py), whose id it is where it names none
(identity.py), the schemas in which an answer can be spelled (spelling.py), and the shape of answers and errors (answer.py);
door.py is the order of these. Does not belong here: anything that a decision goes through (decide.py): what comes in by this
door is drawn, asked, stored and repeated as what comes in by `/v1/decisions`.
"""
