/*-------------------------------------------------------------------------
 *
 * variables.h
 *	  What is written to GitLab at commit: CI/CD variables, a participant.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_VARIABLES_H
#define GITLAB_PAT_VARIABLES_H

#include "change/participant.h"

extern const Participant variables_participant;

#endif							/* GITLAB_PAT_VARIABLES_H */
