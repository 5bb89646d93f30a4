//! Asks the database once for all who ask at the same time.
//!
//! Whoever comes while nobody asks lets those who can go on at once come too, and asks for all; who comes meanwhile waits, and the
//! first of them then asks for all that have gathered. So a question costs nobody a wait while little is to do, and hardly anything
//! while much is.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::store::Error;

/// The questions that wait for the one that is being asked.
#[derive(Debug)]
pub(super) struct Gathered<Q, A> {
    waiting: Mutex<Vec<(Q, oneshot::Sender<A>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl<Q, A> Default for Gathered<Q, A> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }
}

impl<Q: Copy, A> Gathered<Q, A> {
    /// The answer to `question`. `ask` is given several questions and owes as many answers in the same order.
    ///
    /// # Errors
    /// Of the one who asked; the others then ask again.
    pub(super) async fn ask<F>(&self, question: Q, ask: impl Fn(Vec<Q>) -> F) -> Result<A, Error>
    where
        F: Future<Output = Result<Vec<A>, Error>>,
    {
        loop {
            let (sender, mut answer) = oneshot::channel();
            self.waiting().push((question, sender));
            let _turn = tokio::select! {
                biased;
                answered = &mut answer => match answered {
                    Ok(answer) => return Ok(answer),
                    Err(_) => continue,
                },
                turn = self.turn.lock() => turn,
            };
            if let Ok(answer) = answer.try_recv() {
                return Ok(answer);
            }
            // whoever is about to ask does it now
            tokio::task::yield_now().await;
            let (questions, senders): (Vec<Q>, Vec<oneshot::Sender<A>>) = std::mem::take(&mut *self.waiting()).into_iter().unzip();
            for (sender, answer) in senders.into_iter().zip(ask(questions).await?) {
                _ = sender.send(answer);
            }
            if let Ok(answer) = answer.try_recv() {
                return Ok(answer);
            }
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<(Q, oneshot::Sender<A>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn who_asks_while_another_asks_is_answered_together_with_all_the_others() {
        let (desk, asked, open) = (Arc::new(Gathered::<u32, u32>::default()), Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let ask = |question| {
            let (desk, asked, open) = (desk.clone(), asked.clone(), open.clone());
            tokio::spawn(async move {
                let answer = |questions: Vec<u32>| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let open = open.clone();
                    async move {
                        open.acquire().await.unwrap().forget();
                        Ok(questions.into_iter().map(|n| n * 10).collect())
                    }
                };
                desk.ask(question, answer).await.unwrap()
            })
        };
        let mut all = vec![ask(1)];
        tokio::task::yield_now().await;
        all.extend((2..=9).map(ask));
        tokio::task::yield_now().await;
        open.add_permits(2);
        for (n, answer) in (1..=9).zip(all) {
            assert_eq!(answer.await.unwrap(), n * 10);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "the first for itself, the second for the eight who waited");
    }

    #[tokio::test]
    async fn where_it_fails_one_is_told_and_the_others_ask_again() {
        let desk = Gathered::<u32, u32>::default();
        let calls = AtomicUsize::new(0);
        let answer = |questions: Vec<u32>| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move { if call == 0 { Err(Error::Gone) } else { Ok(questions) } }
        };
        let (first, second, third) = tokio::join!(desk.ask(1, answer), desk.ask(2, answer), desk.ask(3, answer));
        assert!(first.is_err());
        assert_eq!((second.unwrap(), third.unwrap()), (2, 3));
        assert_eq!(calls.load(Ordering::SeqCst), 2, "all three gathered for the first question, two for the second");
    }
}
