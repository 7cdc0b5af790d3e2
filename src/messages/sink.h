#pragma once
// Where the log goes besides its file, for daemons that the system's journal reads; and messages with a
// number.

#include "messages/messages.h"

#include <functional>

namespace understudy::messages {

/// Takes a record; `number` is 0 for a message without one. False: it did not take it. From any thread.
using Sink = std::function<bool(Severity severity, int number, std::string_view text)>;

/// From now on records go to `sink` instead of to standard error, and there when it does not take one. After
/// configure(), before the first thread starts; configure() undoes it. Spec: QUO-130.
void log_to(Sink sink);

/// A record of a message that has a number: "(No. 18163) text".
void log_numbered(Severity severity, int number, std::string_view text);

}  // namespace understudy::messages
