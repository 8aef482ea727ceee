"""The campaign: every operation × every call × every fault, drawn by seed, against real processes; see docs/campaign.md.

__main__ > report > batch > (stage, operations, bystanders, truth) > draw > faults
"""
