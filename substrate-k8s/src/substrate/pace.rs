//! How fast a command's input is sent: as fast as it is read, and hardly further.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite;

use crate::client::Writer;

/// The largest piece of input in one message, and the most that is on its way before it is read.
///
/// API servers up to 1.29, and nodes of all ages, copy bytes between us and the container's runtime, and give up both
/// directions when one breaks. A command that ends without having read its input breaks the one towards it, and with it
/// may go the other, where its status is: for those who send at this moment. So a piece is sent when the one before it
/// was read, which costs a round trip each: with two on their way one command of ten lost its status.
pub(super) const PIECE: usize = 32 << 10;
/// How long the first answer may take. Who has none by then sits behind something that swallows them.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// How much longer than usual an answer takes where the command did not read for a while.
const UNUSUAL: u32 = 4;
/// What is never unusual.
const SHORT: Duration = Duration::from_millis(10);
/// The time for a status to come, when an answer took unusually long: the end of a command frees the buffers too, and is
/// told a moment later.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long after its start a command gets no more than one piece. Most of those that do not read their input end at
/// once: there is nothing to do, the program fails, its file cannot be written. What they say of it comes before
/// anything more is on its way. Answers cannot tell this: since 1.30 the API server gives them itself.
const START: Duration = Duration::from_millis(500);

/// The writing half, which the reader of the output needs too: it ends the input of a caller who has dropped it.
pub(super) type Shared = Arc<Mutex<Writer>>;

/// What came back for the questions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answers {
    /// Of the last question that was answered.
    number: u64,
    /// When the first answer came.
    first: Instant,
    /// When the last one came.
    last: Instant,
}

impl Answers {
    /// Takes note of an answer that comes now.
    pub(super) fn note(answers: &mut Option<Self>, number: u64) {
        let now = Instant::now();
        *answers = Some(Self { number, first: answers.map_or(now, |answers| answers.first), last: now });
    }
}

/// How far ahead of its reader a command's input may run.
pub(super) struct Pace {
    /// When the command was started.
    started: Instant,
    /// The number of the last question; the first is asked before anything is sent.
    asked: u64,
    /// When the first and the last question were asked.
    times: (Instant, Instant),
    /// The bytes sent since.
    since: usize,
    answered: watch::Receiver<Option<Answers>>,
    /// How long the answers took of late.
    usual: Option<Duration>,
    /// Whether anything in between swallows the answers.
    swallowed: bool,
}

impl Pace {
    pub(super) fn new(answered: watch::Receiver<Option<Answers>>) -> Self {
        let started = Instant::now();
        let times = (started, started);
        Self { started, asked: 0, times, since: 0, answered, usual: None, swallowed: false }
    }

    /// Sends a piece once those before it are read.
    pub(super) async fn send(&mut self, writer: &Shared, piece: &[u8]) -> Result<(), tungstenite::Error> {
        if self.asked == 0 {
            // Answered whatever the command does; little input does not wait for it.
            self.ask(writer).await?;
        } else if self.since == 0 {
            self.stay(self.started + START).await?;
            if !self.swallowed {
                self.wait().await?;
            }
        }
        writer.lock().await.input(piece).await?;
        self.since += piece.len();
        // Keys that somebody presses are not asked about one by one.
        if self.since >= PIECE {
            self.ask(writer).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, writer: &Shared) -> Result<(), tungstenite::Error> {
        let number = self.asked + 1;
        writer.lock().await.ask(number).await?;
        // Not before: a write that is dropped in between would wait for the answer to a question that nobody asked.
        (self.asked, self.since) = (number, 0);
        self.times.1 = Instant::now();
        if number == 1 {
            self.times.0 = self.times.1;
        }
        Ok(())
    }

    /// Not merely a sleep: the end of the connection ends it.
    async fn stay(&mut self, until: Instant) -> Result<(), tungstenite::Error> {
        if until > Instant::now()
            && let Ok(gone) = timeout_at(until, self.answered.wait_for(|_| false)).await
        {
            drop(gone.map_err(ended)?);
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), tungstenite::Error> {
        if self.answered.borrow().is_none() {
            match timeout(FIRST_ANSWER, self.answered.wait_for(Option::is_some)).await {
                Ok(first) => drop(first.map_err(ended)?),
                Err(_) => {
                    self.swallowed = true;
                    return Ok(());
                }
            }
        }
        let wanted = self.asked;
        let is_there = |answers: &Option<Answers>| answers.is_some_and(|answers| answers.number >= wanted);
        let Some(answers) = *self.answered.wait_for(is_there).await.map_err(ended)? else { return Ok(()) };
        // By when they came, not by when they were looked for: that may be long after.
        let (first_asked, last_asked) = self.times;
        let usual = self.usual.unwrap_or_else(|| answers.first.saturating_duration_since(first_asked));
        let took = answers.last.saturating_duration_since(last_asked);
        if took > SHORT && took > usual * UNUSUAL {
            self.stay(answers.last + LAST_WORDS).await?;
        }
        self.usual = Some((usual * 7 + took) / 8);
        Ok(())
    }
}

/// Nothing comes any more.
fn ended(_: watch::error::RecvError) -> tungstenite::Error {
    tungstenite::Error::ConnectionClosed
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio::time::{advance, sleep};
    use tokio_tungstenite::tungstenite::Message;

    use super::*;

    /// The bytes of input among what was sent so far.
    fn sent(messages: &mut UnboundedReceiver<Message>) -> usize {
        std::iter::from_fn(|| messages.try_recv().ok())
            .map(|message| if let Message::Binary(content) = message { content.len() - 1 } else { 0 })
            .sum()
    }

    fn writer() -> (Shared, UnboundedReceiver<Message>) {
        let (sender, messages) = unbounded_channel();
        (Arc::new(Mutex::new(Writer::to(sender))), messages)
    }

    /// Answers up to this number, all of them now.
    fn answered(number: u64) -> (watch::Sender<Option<Answers>>, watch::Receiver<Option<Answers>>) {
        let (answers, answered) = watch::channel(None);
        answer(&answers, number);
        (answers, answered)
    }

    fn answer(answers: &watch::Sender<Option<Answers>>, number: u64) {
        answers.send_modify(|answers| Answers::note(answers, number));
    }

    /// Of a command that has run for a while.
    async fn pace(answered: watch::Receiver<Option<Answers>>) -> Pace {
        let pace = Pace::new(answered);
        advance(START).await;
        pace
    }

    async fn send_all(pace: &mut Pace, writer: &Shared, pieces: usize) -> Result<(), tungstenite::Error> {
        for _ in 0..pieces {
            pace.send(writer, &[0; PIECE]).await?;
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_is_sent_when_the_one_before_it_was_read() {
        let (writer, mut messages) = writer();
        let (answers, answered) = answered(1);
        let mut pace = pace(answered).await;
        let all = send_all(&mut pace, &writer, 4);
        tokio::pin!(all);
        for piece in 1..=3 {
            let blocked = timeout(Duration::from_secs(3600), &mut all).await;
            assert!(blocked.is_err(), "it did not wait for piece {piece} to be read");
            assert_eq!(sent(&mut messages), PIECE);
            answer(&answers, piece + 1);
        }
        all.await.unwrap();
        assert_eq!(sent(&mut messages), PIECE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_gets_one_piece_until_it_has_run_for_a_moment() {
        let (writer, mut messages) = writer();
        let (_answers, answered) = answered(u64::MAX);
        let mut pace = Pace::new(answered);
        let begin = Instant::now();
        let all = send_all(&mut pace, &writer, 8);
        tokio::pin!(all);
        assert!(timeout(START / 2, &mut all).await.is_err(), "it did not wait");
        assert_eq!(sent(&mut messages), PIECE);
        all.await.unwrap();
        assert_eq!((sent(&mut messages), begin.elapsed()), (7 * PIECE, START));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_waited_to_be_seen_do_not_make_the_later_ones_unusual() {
        let (writer, mut messages) = writer();
        let (answers, answered) = watch::channel(None);
        let mut pace = Pace::new(answered);
        let begin = Instant::now();
        let round_trip = Duration::from_millis(30);
        tokio::select! {
            all = send_all(&mut pace, &writer, 10) => all.unwrap(),
            () = async {
                for number in 1.. {
                    while !messages.recv().await.unwrap().is_ping() {}
                    sleep(round_trip).await;
                    answer(&answers, number);
                }
            } => {}
        }
        assert_eq!(begin.elapsed(), START + round_trip * 8);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_command_that_ends_at_once_is_not_waited_out() {
        let (writer, mut messages) = writer();
        let (answers, answered) = answered(u64::MAX);
        let mut pace = Pace::new(answered);
        let begin = Instant::now();
        let (result, ()) = tokio::join!(send_all(&mut pace, &writer, 8), async {
            sleep(Duration::from_millis(50)).await;
            drop(answers);
        });
        result.unwrap_err();
        assert_eq!((sent(&mut messages), begin.elapsed()), (PIECE, Duration::from_millis(50)));
    }

    #[tokio::test(start_paused = true)]
    async fn little_input_waits_for_nothing() {
        let (writer, mut messages) = writer();
        let (_answers, answered) = watch::channel(None);
        let begin = Instant::now();
        send_all(&mut Pace::new(answered), &writer, 1).await.unwrap();
        assert_eq!((sent(&mut messages), begin.elapsed()), (PIECE, Duration::ZERO));
    }

    /// What a writer waits, when each question is answered as many milliseconds after the one before as told.
    async fn waiting(answers: &[u64]) -> Duration {
        let (writer, _messages) = writer();
        let (sender, answered) = watch::channel(None);
        let mut pace = pace(answered).await;
        let begin = Instant::now();
        let (result, ()) = tokio::join!(send_all(&mut pace, &writer, answers.len()), async {
            for (number, late) in (1..).zip(answers) {
                sleep(Duration::from_millis(*late)).await;
                answer(&sender, number);
            }
        });
        result.unwrap();
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_took_unusually_long_may_be_followed_by_the_commands_end() {
        assert_eq!(waiting(&[1, 1, 300]).await, Duration::from_millis(302) + LAST_WORDS);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_for_a_status_is_over_with_the_connection() {
        let (writer, _messages) = writer();
        let (answers, answered) = answered(1);
        let mut pace = pace(answered).await;
        let begin = Instant::now();
        let (result, ()) = tokio::join!(send_all(&mut pace, &writer, 2), async {
            sleep(Duration::from_millis(300)).await;
            answer(&answers, 2);
            sleep(Duration::from_millis(1)).await;
            drop(answers);
        });
        result.unwrap_err();
        assert_eq!(begin.elapsed(), Duration::from_millis(301));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_connection_is_not_made_slower() {
        assert_eq!(waiting(&[100, 120, 90, 150, 200]).await, Duration::from_millis(660));
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_does_not_read_is_no_connection_that_swallows() {
        let (writer, mut messages) = writer();
        let (_answers, answered) = answered(1);
        let mut pace = pace(answered).await;
        let all = timeout(FIRST_ANSWER * 100, send_all(&mut pace, &writer, 2)).await;
        assert!(all.is_err(), "it went on");
        assert_eq!(sent(&mut messages), PIECE);
    }

    #[tokio::test(start_paused = true)]
    async fn input_is_not_held_back_where_no_question_is_ever_answered() {
        let (writer, mut messages) = writer();
        let (_answers, answered) = watch::channel(None);
        let mut pace = pace(answered).await;
        let begin = Instant::now();
        send_all(&mut pace, &writer, 8).await.unwrap();
        assert_eq!(sent(&mut messages), 8 * PIECE);
        assert_eq!(begin.elapsed().as_secs(), FIRST_ANSWER.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_waits_learns_that_the_connection_has_ended() {
        let (writer, _messages) = writer();
        let (answers, answered) = answered(0);
        let mut pace = pace(answered).await;
        let (result, ()) = tokio::join!(send_all(&mut pace, &writer, 4), async { drop(answers) });
        result.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_a_dropped_write_did_not_ask_is_asked_by_the_next() {
        let (writer, mut messages) = writer();
        let (_answers, answered) = watch::channel(None);
        let mut pace = pace(answered).await;
        let busy = writer.lock().await;
        timeout(Duration::from_secs(1), pace.send(&writer, b"k")).await.unwrap_err();
        drop(busy);
        pace.send(&writer, b"k").await.unwrap();
        assert!(messages.try_recv().unwrap().is_ping());
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_not_each_asked_about() {
        let (writer, mut messages) = writer();
        let (_answers, answered) = answered(0);
        let mut pace = pace(answered).await;
        for _ in 0..100 {
            pace.send(&writer, b"k").await.unwrap();
        }
        let all = std::iter::from_fn(|| messages.try_recv().ok());
        assert_eq!(all.filter(Message::is_ping).count(), 1);
    }
}
