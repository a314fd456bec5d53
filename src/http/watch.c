/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  Ends a call of libcurl that a server keeps busy.
 *
 * The timer's signal goes to this thread and to no other, so that it may stay
 * unblocked while libcurl starts threads, which inherit the signal mask.
 *
 * Portions Copyright (c) 2026, gitlab_pat_fdw developers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/watch.h"

#ifdef SIGEV_THREAD_ID

/* Missing in glibc's headers before 2.36, which have the member it stands for. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* How often the connections are cut while the call goes on, in us. */
#define AGAIN_USECS 20000

static timer_t timer;

/* of the timer; 0: there is none yet, -1: there can be none */
static int	timer_signal = 0;

/* The connections of the call that is watched, or NULL; and whether they were cut. */
static const SocketSet *volatile watched = NULL;
static volatile sig_atomic_t was_cut = false;

/*
 * Cuts the connections.  To disconnect a socket throws away what it has received and
 * nobody has read.  A shutdown as well makes sure of sockets that can't be
 * disconnected.  A set that is being changed is left for the next time.
 */
static void
on_signal(int signo)
{
	int			saved_errno = errno;
	const SocketSet *open = watched;
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};

	(void) signo;
	if (open && !open->changing)
	{
		was_cut = true;
		for (int i = 0; i < open->nfds; i++)
		{
			(void) connect(open->fds[i].fd, &nowhere, sizeof(nowhere));
			(void) shutdown(open->fds[i].fd, SHUT_RDWR);
		}
	}
	errno = saved_errno;
}

/* Makes the timer, with a signal that nobody else has taken. */
static bool
timer_exists(void)
{
	struct sigaction action = {.sa_flags = SA_RESTART};
	struct sigaction other;
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID};

	if (timer_signal != 0)
		return timer_signal > 0;
	timer_signal = -1;
	action.sa_handler = on_signal;
	sigfillset(&action.sa_mask);
	for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
	{
		if (sigaction(signo, NULL, &other) != 0 ||
			(other.sa_flags & SA_SIGINFO) || other.sa_handler != SIG_DFL)
			continue;
		event.sigev_signo = signo;
		/* a backend's code runs in the first thread of its process */
		event.sigev_notify_thread_id = getpid();
		if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0)
		{
			if (sigaction(signo, &action, NULL) == 0)
				timer_signal = signo;
			else
				(void) timer_delete(timer);
		}
		break;
	}
	return timer_signal > 0;
}

static void
timer_set(long first, long again)
{
	struct itimerspec due = {
		.it_value.tv_sec = first / 1000000,
		.it_value.tv_nsec = first % 1000000 * 1000,
		.it_interval.tv_nsec = again * 1000
	};

	(void) timer_settime(timer, 0, &due, NULL);
}

/*
 * Watches the call that follows, which runs with these signals blocked: the timer's
 * is taken out.  The connections must stay where they are until watch_end().
 * connecting: one of them is being made.
 */
void
watch_begin(const SocketSet *open, sigset_t *blocked, bool connecting)
{
	if (!timer_exists())
		return;
	Assert(watched == NULL);
	was_cut = false;
	watched = open;
	sigdelset(blocked, timer_signal);
	watch_connecting(connecting);
}

/* Called in a call that is watched: a connection is going to be made, or it stands. */
void
watch_connecting(bool connecting)
{
	if (watched)
		timer_set(connecting ? MAX_CONNECT_USECS : MAX_CALL_USECS, AGAIN_USECS);
}

/* The call is over.  Returns whether its connections had to be cut. */
bool
watch_end(void)
{
	if (watched)
		timer_set(0, 0);
	watched = NULL;
	return was_cut;
}

#else

void
watch_begin(const SocketSet *open, sigset_t *blocked, bool connecting)
{
	(void) open;
	(void) blocked;
	(void) connecting;
}

void
watch_connecting(bool connecting)
{
	(void) connecting;
}

bool
watch_end(void)
{
	return false;
}

#endif							/* SIGEV_THREAD_ID */
