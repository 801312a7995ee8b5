"""What did prices do that were drawn at random?"""
