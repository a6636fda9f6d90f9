//! The calls that are answered once.

use chat_client::Reason;
use chat_client::api;
use chat_client::api::account_service_server::AccountService;
use chat_client::api::auth_service_server::AuthService;
use chat_client::api::cluster_service_server::ClusterService;
use chat_client::api::message_service_server::MessageService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::store::{Store, durability};
use super::{Met, Node, Step, refusal};

impl Node {
    pub(super) fn note<T>(&self, method: &'static str, request_id: &str, request: &Request<T>) {
        self.shared.log.lock().unwrap().push(Met {
            replica: self.id,
            method,
            request_id: request_id.into(),
            no_proxy: request.metadata().contains_key("x-chat-no-proxy"),
            authorized: request.metadata().contains_key("authorization"),
        });
    }

    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let header = request
            .metadata()
            .get("authorization")
            .map(|v| v.to_str().unwrap());
        self.shared.store.lock().unwrap().who(header)
    }

    /// Answers a call, or fails as scripted.
    async fn serve<Req, Res>(
        &self,
        method: &'static str,
        request_id: &str,
        request: &Request<Req>,
        answer: impl FnOnce(&mut Store) -> Result<Res, Status>,
    ) -> Result<Response<Res>, Status> {
        self.note(method, request_id, request);
        let step = self
            .scripts
            .calls
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Step::Answer);
        let commit = || {
            let result = answer(&mut self.shared.store.lock().unwrap());
            self.shared.changed.send_modify(|v| *v += 1);
            result.map(Response::new)
        };
        match step {
            Step::Answer => commit(),
            Step::Refuse(status) => Err(status),
            Step::Hang => std::future::pending().await,
            Step::CommitAndHang => {
                let _ = commit();
                std::future::pending().await
            }
            Step::CommitAndDie => {
                let _ = commit();
                self.scripts.die();
                std::future::pending().await
            }
            Step::Die => {
                self.scripts.die();
                std::future::pending().await
            }
        }
    }
}

#[tonic::async_trait]
impl AuthService for Node {
    async fn register(
        &self,
        request: Request<api::RegisterRequest>,
    ) -> Result<Response<api::RegisterResponse>, Status> {
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            store.once(&r.request_id, |store| {
                let account = Some(store.register(&r.username, &r.password)?);
                Ok(api::RegisterResponse {
                    account,
                    durability: durability(),
                    read_token: store.read_token(),
                })
            })
        };
        self.serve("Register", &r.request_id, &request, answer)
            .await
    }

    async fn login(
        &self,
        request: Request<api::LoginRequest>,
    ) -> Result<Response<api::LoginResponse>, Status> {
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            store.check_password(&r.username, &r.password)?;
            store.once(&r.request_id, |store| {
                Ok(api::LoginResponse {
                    account: Some(store.account(&r.username)),
                    session_token: store.open_session(&r.username),
                    expire_time_ms: 4_107_542_400_000,
                    durability: durability(),
                    read_token: store.read_token(),
                })
            })
        };
        self.serve("Login", &r.request_id, &request, answer).await
    }

    async fn logout(
        &self,
        request: Request<api::LogoutRequest>,
    ) -> Result<Response<api::LogoutResponse>, Status> {
        let name = self.caller(&request)?;
        let answer = |store: &mut Store| {
            let sessions_closed = store.close_sessions(&name);
            Ok(api::LogoutResponse {
                read_token: store.read_token(),
                sessions_closed,
            })
        };
        self.serve("Logout", &request.get_ref().request_id, &request, answer)
            .await
    }

    async fn who_am_i(
        &self,
        request: Request<api::WhoAmIRequest>,
    ) -> Result<Response<api::WhoAmIResponse>, Status> {
        let name = self.caller(&request)?;
        let answer = |store: &mut Store| {
            Ok(api::WhoAmIResponse {
                account: Some(store.account(&name)),
                session_id: uuid::Uuid::from_u128(7).to_string(),
                expire_time_ms: 4_107_542_400_000,
                read_token: store.read_token(),
            })
        };
        self.serve("WhoAmI", "", &request, answer).await
    }

    async fn list_sessions(
        &self,
        request: Request<api::ListSessionsRequest>,
    ) -> Result<Response<api::ListSessionsResponse>, Status> {
        let name = self.caller(&request)?;
        let answer = |store: &mut Store| {
            Ok(api::ListSessionsResponse {
                sessions: store.sessions_of(&name),
                read_token: store.read_token(),
            })
        };
        self.serve("ListSessions", "", &request, answer).await
    }

    async fn revoke_session(
        &self,
        request: Request<api::RevokeSessionRequest>,
    ) -> Result<Response<api::RevokeSessionResponse>, Status> {
        let name = self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            store.revoke(&name, &r.session_id)?;
            Ok(api::RevokeSessionResponse {
                durability: durability(),
                read_token: store.read_token(),
            })
        };
        self.serve("RevokeSession", &r.request_id, &request, answer)
            .await
    }

    async fn change_password(
        &self,
        request: Request<api::ChangePasswordRequest>,
    ) -> Result<Response<api::ChangePasswordResponse>, Status> {
        let name = self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            store.check_password(&name, &r.old_password)?;
            store.set_password(&name, &r.new_password);
            Ok(api::ChangePasswordResponse {
                durability: durability(),
                read_token: store.read_token(),
            })
        };
        self.serve("ChangePassword", &r.request_id, &request, answer)
            .await
    }
}

#[tonic::async_trait]
impl AccountService for Node {
    async fn list_accounts(
        &self,
        request: Request<api::ListAccountsRequest>,
    ) -> Result<Response<api::ListAccountsResponse>, Status> {
        self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            if r.pattern.contains("[z-") {
                return Err(refusal(Code::InvalidArgument, Reason::InvalidPattern));
            }
            let (accounts, next_page_token) = cut(store.accounts(), &r.page_token, r.page_size);
            Ok(api::ListAccountsResponse {
                accounts,
                next_page_token,
                read_token: store.read_token(),
            })
        };
        self.serve("ListAccounts", "", &request, answer).await
    }

    async fn delete_account(
        &self,
        request: Request<api::DeleteAccountRequest>,
    ) -> Result<Response<api::DeleteAccountResponse>, Status> {
        let name = self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            store.check_password(&name, &r.password)?;
            store.delete_account(&name);
            Ok(api::DeleteAccountResponse {
                durability: durability(),
                read_token: store.read_token(),
            })
        };
        self.serve("DeleteAccount", &r.request_id, &request, answer)
            .await
    }
}

#[tonic::async_trait]
impl MessageService for Node {
    type SendMessagesStream = ReceiverStream<Result<api::SendMessagesResponse, Status>>;

    async fn send_messages(
        &self,
        request: Request<Streaming<api::SendMessagesRequest>>,
    ) -> Result<Response<Self::SendMessagesStream>, Status> {
        let (metadata, extensions, mut messages) = request.into_parts();
        let (out, answers) = mpsc::channel(16);
        let node = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = messages.message().await {
                let mut results = Vec::new();
                for message in request.messages {
                    let request_id = message.request_id.clone();
                    let one = Request::from_parts(metadata.clone(), extensions.clone(), message);
                    let result = match node.send_message(one).await {
                        Ok(sent) => api::send_result::Result::Sent(sent.into_inner()),
                        Err(status) => api::send_result::Result::Refused(api::SendRefusal {
                            code: status.code().into(),
                            message: status.message().into(),
                            details: status.details().to_vec(),
                        }),
                    };
                    let result = Some(result);
                    results.push(api::SendResult { request_id, result });
                }
                let leader = None;
                let response = api::SendMessagesResponse { results, leader };
                if out.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn send_message(
        &self,
        request: Request<api::SendMessageRequest>,
    ) -> Result<Response<api::SendMessageResponse>, Status> {
        let name = self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            store.once(&r.request_id, |store| {
                store.send(&name, &r.recipient, &r.body)
            })
        };
        self.serve("SendMessage", &r.request_id, &request, answer)
            .await
    }

    async fn list_inbox(
        &self,
        request: Request<api::ListInboxRequest>,
    ) -> Result<Response<api::ListInboxResponse>, Status> {
        let name = self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            // By sequence number, for confirmed messages leave the list while it is read.
            let after: u64 = r.page_token.parse().unwrap_or(0);
            let mut messages = store.inbox(&name);
            messages.retain(|m| m.sequence > after);
            let more = messages.len() > size(r.page_size);
            messages.truncate(size(r.page_size));
            let last = messages.last().filter(|_| more);
            let next_page_token = last.map(|m| m.sequence.to_string()).unwrap_or_default();
            Ok(api::ListInboxResponse {
                messages,
                next_page_token,
                read_token: store.read_token(),
            })
        };
        self.serve("ListInbox", "", &request, answer).await
    }

    async fn list_history(
        &self,
        request: Request<api::ListHistoryRequest>,
    ) -> Result<Response<api::ListHistoryResponse>, Status> {
        let name = self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            let all = store.conversation(&name, &r.peer)?;
            let (messages, next_page_token) = cut(all, &r.page_token, r.page_size);
            Ok(api::ListHistoryResponse {
                messages,
                next_page_token,
                read_token: store.read_token(),
            })
        };
        self.serve("ListHistory", "", &request, answer).await
    }

    async fn list_conversations(
        &self,
        request: Request<api::ListConversationsRequest>,
    ) -> Result<Response<api::ListConversationsResponse>, Status> {
        let name = self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            let (conversations, next_page_token) =
                cut(store.conversations(&name), &r.page_token, r.page_size);
            Ok(api::ListConversationsResponse {
                conversations,
                next_page_token,
                read_token: store.read_token(),
            })
        };
        self.serve("ListConversations", "", &request, answer).await
    }

    async fn confirm_delivery(
        &self,
        request: Request<api::ConfirmDeliveryRequest>,
    ) -> Result<Response<api::ConfirmDeliveryResponse>, Status> {
        self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            store.once(&r.request_id, |store| {
                store.confirm(&r.message_ids);
                Ok(api::ConfirmDeliveryResponse {
                    read_token: store.read_token(),
                })
            })
        };
        self.serve("ConfirmDelivery", &r.request_id, &request, answer)
            .await
    }

    async fn mark_read(
        &self,
        request: Request<api::MarkReadRequest>,
    ) -> Result<Response<api::MarkReadResponse>, Status> {
        let name = self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            let marked = store.mark_read(&name, &r.message_ids, &r.peer);
            Ok(api::MarkReadResponse {
                marked,
                read_token: store.read_token(),
            })
        };
        self.serve("MarkRead", &r.request_id, &request, answer)
            .await
    }

    async fn delete_messages(
        &self,
        request: Request<api::DeleteMessagesRequest>,
    ) -> Result<Response<api::DeleteMessagesResponse>, Status> {
        let name = self.caller(&request)?;
        let r = request.get_ref();
        let answer = |store: &mut Store| {
            let deleted = store.delete(&name, &r.message_ids, r.scope())?;
            Ok(api::DeleteMessagesResponse {
                deleted,
                durability: durability(),
                read_token: store.read_token(),
            })
        };
        self.serve("DeleteMessages", &r.request_id, &request, answer)
            .await
    }
}

#[tonic::async_trait]
impl ClusterService for Node {
    async fn get_cluster_status(
        &self,
        request: Request<api::GetClusterStatusRequest>,
    ) -> Result<Response<api::GetClusterStatusResponse>, Status> {
        let leader = self.shared.leader_of();
        let replicas = self
            .shared
            .addresses
            .iter()
            .enumerate()
            .map(|(id, address)| {
                let leads = leader.as_ref().is_some_and(|l| l.replica_id == id as u32);
                let role = match leads {
                    true => api::ReplicaRole::Leader,
                    false => api::ReplicaRole::Follower,
                };
                api::ReplicaStatus {
                    replica_id: id as u32,
                    client_address: address.to_string(),
                    peer_address: format!("127.0.0.1:{}", 7500 + id),
                    role: role.into(),
                    in_view: true,
                    durable_index: 42,
                    commit_index: 41,
                    applied_index: 40,
                    lag: id as u64,
                    state_hash: "c0ffee00".into(),
                    orphans: 0,
                }
            });
        let replicas: Vec<_> = replicas.collect();
        let answer = |store: &mut Store| {
            Ok(api::GetClusterStatusResponse {
                cluster_id: "cluster".into(),
                replica_id: self.id as u32,
                epoch: leader.as_ref().map(|l| l.epoch).unwrap_or(0),
                leader,
                replicas,
                waiting_for: String::new(),
                accounts: store.accounts().len() as u64,
                messages: store.messages.len() as u64,
                read_token: store.read_token(),
                mode: api::ClusterMode::Available.into(),
                forced: false,
            })
        };
        self.serve("GetClusterStatus", "", &request, answer).await
    }
}

/// A page by offset.
fn cut<T>(items: Vec<T>, token: &str, page_size: i32) -> (Vec<T>, String) {
    let start: usize = token.parse().unwrap_or(0);
    let total = items.len();
    let page: Vec<T> = items
        .into_iter()
        .skip(start)
        .take(size(page_size))
        .collect();
    let end = start + page.len();
    (
        page,
        if end < total {
            end.to_string()
        } else {
            String::new()
        },
    )
}

fn size(page_size: i32) -> usize {
    if page_size == 0 {
        100
    } else {
        page_size as usize
    }
}
