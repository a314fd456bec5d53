/*-------------------------------------------------------------------------
 *
 * kinds.h
 *	  Which of the tokens of users are impersonation tokens.
 *
 * GitLab lists all tokens of a user together, unmarked, and makes the two kinds at
 * two places.  A token never becomes one of the other kind, so what was learned is
 * remembered until the session ends.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef GITLAB_PAT_KINDS_H
#define GITLAB_PAT_KINDS_H

#include "change/participant.h"

/* A statement's knowledge, in its memory context; begins as NULL. */
typedef struct TokenKinds TokenKinds;

extern bool kinds_are_known(const RemoteChange *change, int64 id, int64 owner_id,
							JsonRecord *record);
extern void kinds_note(const RemoteChange *change, JsonRecord *record,
					   bool impersonation);
extern void kinds_note_shown(const Connection *connection, JsonRecord *record);

/* These raise errors */
extern void kinds_learn(TokenKinds **kinds, RemoteChange *change,
						const int64 *owners, int nowners);
extern bool kinds_is_impersonation(TokenKinds **kinds, RemoteChange *change,
								   int64 id, int64 owner_id,
								   JsonRecord *record);

#endif							/* GITLAB_PAT_KINDS_H */
